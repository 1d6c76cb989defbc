package server

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	smtpclient "github.com/postrider/postrider/client"
	"github.com/postrider/postrider/internal/scram"
	"github.com/postrider/postrider/smtp"
)

// TestFirstMessages: initial responses that break the grammar of their mechanism, or ask for what nobody may have.
func TestFirstMessages(t *testing.T) {
	const malformed, wrong = "501 5.5.2 malformed response\r\n", "535 5.7.8 wrong username or password\r\n"
	tests := []struct{ name, mech, response, want string }{
		{"good", "SCRAM-SHA-256", "n,,n=ann,r=abc", "334"},
		{"extension after the nonce", "SCRAM-SHA-256", "n,,n=ann,r=abc,x=1", "334"},
		{"downgrade", "SCRAM-SHA-256", "y,,n=ann,r=abc", wrong}, // RFC 5802 §6
		{"binding without -PLUS", "SCRAM-SHA-256", "p=tls-exporter,,n=ann,r=abc", malformed},
		{"-PLUS without binding", "SCRAM-SHA-256-PLUS", "n,,n=ann,r=abc", malformed},
		{"-PLUS with y", "SCRAM-SHA-256-PLUS", "y,,n=ann,r=abc", malformed},
		{"-PLUS with a binding that isn't there", "SCRAM-SHA-256-PLUS", "p=tls-unique,,n=ann,r=abc", wrong}, // TLS 1.3
		{"-PLUS with an unknown binding", "SCRAM-SHA-256-PLUS", "p=,,n=ann,r=abc", wrong},
		{"unknown flag", "SCRAM-SHA-256", "z,,n=ann,r=abc", malformed},
		{"no flag", "SCRAM-SHA-256", ",,n=ann,r=abc", malformed},
		{"mandatory extension", "SCRAM-SHA-256", "n,,m=1,n=ann,r=abc", malformed}, // RFC 5802 §5.1
		{"no header", "SCRAM-SHA-256", "n=ann,r=abc", malformed},
		{"nothing", "SCRAM-SHA-256", "", malformed},
		{"no nonce", "SCRAM-SHA-256", "n,,n=ann,r=", malformed},
		{"no name", "SCRAM-SHA-256", "n,,n=,r=abc", malformed},
		{"no attributes", "SCRAM-SHA-256", "n,,", malformed},
		{"other order", "SCRAM-SHA-256", "n,,r=abc,n=ann", malformed},
		{"nonce with a space", "SCRAM-SHA-256", "n,,n=ann,r=a c", malformed},
		{"nonce with a line end", "SCRAM-SHA-256", "n,,n=ann,r=a\r\nc", malformed},
		{"name with a bad escape", "SCRAM-SHA-256", "n,,n=a=nn,r=abc", malformed},
		{"name with a NUL", "SCRAM-SHA-256", "n,,n=a\x00nn,r=abc", malformed},
		{"name with a line end", "SCRAM-SHA-256", "n,,n=ann\n,r=abc", malformed},
		{"name not UTF-8", "SCRAM-SHA-256", "n,,n=\xff,r=abc", malformed},
		{"another identity", "SCRAM-SHA-256", "n,a=bob,n=ann,r=abc", wrong},
		{"bad identity", "SCRAM-SHA-256", "n,bob,n=ann,r=abc", malformed},

		{"good", "OAUTHBEARER", "n,a=ann,\x01host=mx.test\x01port=587\x01auth=Bearer good\x01\x01", "235"},
		{"scheme in lower case", "OAUTHBEARER", "n,,\x01auth=bearer good\x01\x01", "235"},
		{"unknown key", "OAUTHBEARER", "n,,\x01mthd=POST\x01auth=Bearer good\x01\x01", "235"},
		{"y", "OAUTHBEARER", "y,,\x01auth=Bearer good\x01\x01", "235"},
		{"p", "OAUTHBEARER", "p=tls-exporter,,\x01auth=Bearer good\x01\x01", malformed},
		{"no end", "OAUTHBEARER", "n,,\x01auth=Bearer good\x01", malformed},
		{"no token", "OAUTHBEARER", "n,,\x01\x01", malformed},
		{"empty token", "OAUTHBEARER", "n,,\x01auth=Bearer \x01\x01", malformed},
		{"two tokens", "OAUTHBEARER", "n,,\x01auth=Bearer good\x01auth=Bearer good\x01\x01", malformed},
		{"other scheme", "OAUTHBEARER", "n,,\x01auth=Basic good\x01\x01", malformed},
		{"token with a space", "OAUTHBEARER", "n,,\x01auth=Bearer go od\x01\x01", malformed},
		{"token with a line end", "OAUTHBEARER", "n,,\x01auth=Bearer good\n\x01\x01", malformed},
		{"bad name", "OAUTHBEARER", "n,a=an=n,\x01auth=Bearer good\x01\x01", malformed},
		{"empty name", "OAUTHBEARER", "n,a=,\x01auth=Bearer good\x01\x01", malformed},
		{"no header", "OAUTHBEARER", "\x01auth=Bearer good\x01\x01", malformed},
		{"only a separator", "OAUTHBEARER", "\x01", malformed}, // RFC 7628 §3.1
		{"nothing", "OAUTHBEARER", "", malformed},

		{"good", "XOAUTH2", "user=ann\x01auth=Bearer good\x01\x01", "235"},
		{"no user", "XOAUTH2", "user=\x01auth=Bearer good\x01\x01", malformed},
		{"no end", "XOAUTH2", "user=ann\x01auth=Bearer good", malformed},
		{"nothing", "XOAUTH2", "", malformed},

		{"name at once", "LOGIN", "ann", "334 UGFzc3dvcmQ6\r\n"},
		{"nothing", "LOGIN", "", malformed},
		{"two parts", "PLAIN", "ann\x00secret", malformed},
		{"name with a line end", "PLAIN", "\x00ann\r\n\x00secret", malformed},
		{"name with a NUL", "LOGIN", "ann\x00", malformed},
		{"name with a line end", "XOAUTH2", "user=ann\n\x01auth=Bearer good\x01\x01", malformed},
		{"name with an escape character", "OAUTHBEARER", "n,a=a\x1bnn,\x01auth=Bearer good\x01\x01", malformed},
		{"four parts", "PLAIN", "\x00ann\x00secret\x00", malformed},
	}
	for _, tt := range tests {
		t.Run(tt.mech+"/"+tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newWorld(t, authServer(t)).dial()
				c.want(ehlo, "220", "250")
				c.upgrade()
				c.want(ehlo, "250")
				response := b64(tt.response)
				if response == "" {
					response = "="
				}
				if got := c.ask("AUTH " + tt.mech + " " + response + "\r\n"); !strings.HasPrefix(got, tt.want) {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		})
	}
}

// TestFinalMessages: SCRAM with the right password, until something is changed in the client's last message.
func TestFinalMessages(t *testing.T) {
	const malformed, wrong = "501 5.5.2 malformed response\r\n", "535 5.7.8 wrong username or password\r\n"
	tests := []struct {
		name     string
		old, new string // what is replaced in the message
		want     string
	}{
		{"nothing changed", "", "", "334"},
		{"extension", ",p=", ",x=1,p=", wrong}, // the proof is of another message
		{"another binding", "c=biws", "c=" + b64("y,,"), wrong},
		{"no binding", "c=", "d=", malformed},
		{"another nonce", ",r=", ",r=x", wrong},
		{"no proof", ",p=", ",q=", malformed},
		{"empty proof", ",p=", ",p=,p=", wrong},
		{"proof not base64", ",p=", ",p=!", malformed},
		{"short proof", ",p=", ",p=" + b64("short") + "!", malformed},
		{"mandatory extension", "c=", "m=1,c=", malformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newWorld(t, authServer(t)).dial()
				c.want(ehlo, "220", "250")
				auth := &smtpclient.Credentials{Username: "ann", Password: "secret"}
				x, err := auth.Begin(t.Context(), smtp.AuthHost{Mechanisms: []string{scram.SHA256}})
				if err != nil {
					t.Fatal(err)
				}
				_, ir, _ := x.Start()
				got := c.want("AUTH SCRAM-SHA-256\r\n"+b64(string(ir))+"\r\n", "334", "334")
				_, got, _ = strings.Cut(got, "\r\n334 ")
				challenge, _ := base64.StdEncoding.DecodeString(strings.TrimSpace(got))
				response, err := x.Next(challenge)
				if err != nil {
					t.Fatal(err)
				}
				got = c.ask(b64(strings.Replace(string(response), tt.old, tt.new, 1)) + "\r\n")
				if !strings.HasPrefix(got, tt.want) {
					t.Errorf("got %q, want %q", got, tt.want)
				}
				if tt.want == "334" {
					c.want(b64("x")+"\r\n"+mail, "501", "250") // the last response must be empty (RFC 4954 §4)
				}
			})
		})
	}
}

// TestBetween: a client with the right password that is bound to another connection is refused: someone relays.
func TestBetween(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		synctest.Test(t, func(t *testing.T) {
			srv := authServer(t)
			srv.TLSConfig.MaxVersion = version
			w := newWorld(t, srv)
			var clients []*client
			var states []*tls.ConnectionState
			for range 2 {
				c := w.dial()
				c.want(ehlo, "220", "250")
				clients, states = append(clients, c), append(states, c.upgrade())
				c.want(ehlo, "250")
			}
			for i, want := range []string{"535", "235"} {
				auth := &smtpclient.Credentials{Username: "ann", Password: "secret"}
				host := smtp.AuthHost{Mechanisms: []string{scram.SHA256Plus}, TLS: states[i]}
				x, err := auth.Begin(t.Context(), host)
				if err != nil {
					t.Fatal(err)
				}
				if got, _ := clients[1].login(x); !strings.HasPrefix(got, want) {
					t.Errorf("%s: got %q, want %s", tls.VersionName(version), got, want)
				}
			}
		})
	}
}

// TestTokenRefused: the error comes in a challenge, and any response to it ends the exchange (RFC 7628 §3.2.3).
func TestTokenRefused(t *testing.T) {
	tests := []struct{ mech, response, challenge string }{
		{"OAUTHBEARER", "n,,\x01auth=Bearer bad\x01\x01", `{"status":"invalid_token","schemes":"bearer"}`},
		{"XOAUTH2", "user=ann\x01auth=Bearer bad\x01\x01", `{"status":"401","schemes":"bearer"}`},
	}
	for _, tt := range tests {
		for _, dummy := range []string{"AQ==", "", "*", b64(tt.response), "!"} {
			synctest.Test(t, func(t *testing.T) {
				c := newWorld(t, authServer(t)).dial()
				c.want(ehlo, "220", "250")
				got := c.ask("AUTH " + tt.mech + " " + b64(tt.response) + "\r\n")
				if want := "334 " + b64(tt.challenge) + "\r\n"; got != want {
					t.Errorf("%s: got %q, want %q", tt.mech, got, want)
				}
				want := "535"
				if dummy == "*" || dummy == "!" {
					want = "501"
				}
				c.want(dummy+"\r\n", want)
				c.want("AUTH "+tt.mech+" "+b64(strings.Replace(tt.response, "bad", "good", 1))+"\r\n", "235")
			})
		}
	}
}

// TestMailAuth: the AUTH parameter of MAIL counts only from a client that has authenticated (RFC 4954 §5).
func TestMailAuth(t *testing.T) {
	for _, login := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			d := &desk{}
			srv := authServer(t)
			srv.Handler = d
			c := newWorld(t, srv).dial()
			c.want(ehlo, "220", "250")
			want := "<>"
			if login {
				c.want("AUTH XOAUTH2 "+b64("user=ann\x01auth=Bearer good\x01\x01")+"\r\n", "235")
				want = "bob@example.org"
			}
			c.want("MAIL FROM:<ann@example.com> AUTH=bob@example.org\r\n"+rcpt+data, "250", "250", "354")
			c.want(body, "250")
			if got := d.all()[0].env.Auth; got != want {
				t.Errorf("login %t: got AUTH %q, want %q", login, got, want)
			}
		})
	}
}

// TestEndPoint: a client may bind SCRAM to the certificate that it got (RFC 5929 §4), whichever that is.
func TestEndPoint(t *testing.T) {
	tests := []struct {
		name   string
		change func(c, other *tls.Config)
		server string // SNI
	}{
		{"one certificate", func(_, _ *tls.Config) {}, ""},
		{"GetCertificate", func(c, other *tls.Config) {
			c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &other.Certificates[0], nil }
		}, "mx.test"},
		{"GetCertificate without SNI", func(c, other *tls.Config) {
			c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &other.Certificates[0], nil }
		}, ""},
		{"GetCertificate has none", func(c, _ *tls.Config) {
			c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }
		}, "mx.test"},
		{"GetConfigForClient", func(c, other *tls.Config) {
			c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return other, nil }
			c.Certificates = nil
		}, ""},
	}
	for _, tt := range tests {
		for _, implicit := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				srv := authServer(t)
				tt.change(srv.TLSConfig, testTLS(t))
				srv.Hostname, srv.Handler, srv.AuthDelay = "mx.test", &desk{}, 1
				l := newNetwork()
				var serving net.Listener = l
				if implicit {
					serving = NewTLSListener(l, srv.TLSConfig)
				}
				stopped := make(chan error, 1)
				go func() { stopped <- srv.Serve(t.Context(), serving) }()
				p, _ := l.dial("198.51.100.7")
				c := newClient(t, p)
				defer func() {
					srv.Close()
					<-stopped
				}()
				if !implicit {
					c.want(ehlo+"STARTTLS\r\n", "220", "250", "220")
				}
				c.startTLSAs(tt.server)
				c.want(ehlo, strings.Fields(map[bool]string{false: "250", true: "220 250"}[implicit])...)
				sum := sha256.Sum256(c.conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Raw)
				for _, want := range []string{"535", "235"} {
					bare := "n=ann,r=abc"
					head := "p=tls-server-end-point,,"
					got := c.want("AUTH SCRAM-SHA-256-PLUS "+b64(head+bare)+"\r\n", "334")
					first, _ := base64.StdEncoding.DecodeString(strings.TrimSpace(got[4:]))
					nonce, _, _ := strings.Cut(string(first), ",")
					bound := head + string(sum[:])
					if want == "535" {
						bound = head + strings.Repeat("x", 32)
					}
					final := "c=" + b64(bound) + "," + nonce
					keys, err := scram.Derive("secret", annCredentials.Salt, annCredentials.Iterations)
					if err != nil {
						t.Fatal(err)
					}
					proof := scram.Mask(keys.Client, keys.Stored, bare+","+string(first)+","+final)
					c.slow = want == "535"
					got = c.ask(b64(final+",p="+b64(string(proof))) + "\r\n")
					if want == "235" && strings.HasPrefix(got, "334 ") {
						got = c.ask("\r\n")
					}
					if !strings.HasPrefix(got, want) {
						t.Errorf("%s, implicit %t: got %q, want %s", tt.name, implicit, got, want)
					}
				}
			})
		}
	}
}
