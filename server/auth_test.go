package server

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	smtpclient "github.com/postrider/postrider/client"
	"github.com/postrider/postrider/internal/scram"
	"github.com/postrider/postrider/smtp"
)

var annCredentials = must(NewSCRAMCredentials("secret", scram.MinIterations))

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// stored has the user ann with the password "secret", and users for which the lookup goes wrong.
func stored(_ context.Context, _ *Peer, username string) (*SCRAMCredentials, error) {
	switch username {
	case "ann", "a,b=c":
		return annCredentials, nil
	case "away":
		return nil, errors.New("the directory at 10.0.0.1 is down")
	case "blocked":
		return nil, smtp.NewReply(535, "5.7.13", "account disabled")
	case "short":
		return &SCRAMCredentials{Salt: []byte("salt"), Iterations: 4096, StoredKey: []byte("key")}, nil
	case "nil":
		return nil, nil
	}
	return nil, ErrAuthFailed
}

// checkToken knows the token of ann, "good".
func checkToken(_ context.Context, _ *Peer, username, token string) (string, error) {
	switch {
	case token == "good" && (username == "" || username == "ann"):
		return "ann", nil
	case token == "broken":
		return "", errors.New("the issuer is down")
	case token == "nobody":
		return "", nil
	}
	return "", ErrAuthFailed
}

// authServer offers every mechanism.
func authServer(t *testing.T) *Server {
	return &Server{
		Authenticate: authenticate, StoredCredentials: stored, CheckToken: checkToken, SCRAMSecret: []byte("x"),
		SCRAMIterations: scram.MinIterations, AllowInsecureAuth: true, TLSConfig: testTLS(t), MaxErrors: 1000,
		MaxCommands: 1000,
	}
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// login lets a client of package client authenticate. It returns the last reply, and the challenges before it.
func (c *client) login(x smtp.AuthExchange) (reply string, challenges []string) {
	c.t.Helper()
	mech, ir, err := x.Start()
	if err != nil {
		c.t.Fatal(err)
	}
	line := "AUTH " + mech
	if ir != nil {
		line += " " + b64(string(ir))
	}
	for range 10 {
		reply = strings.TrimSuffix(c.ask(line+"\r\n"), "\r\n")
		challenge, more := strings.CutPrefix(reply, "334 ")
		if !more {
			return reply, challenges
		}
		decoded, err := base64.StdEncoding.DecodeString(challenge)
		if err != nil {
			c.t.Fatalf("challenge %q: %v", challenge, err)
		}
		challenges = append(challenges, string(decoded))
		response, err := x.Next(decoded)
		if line = b64(string(response)); err != nil && response == nil {
			line = "*"
		}
	}
	c.t.Fatal("the exchange doesn't end")
	return "", nil
}

func TestMechanisms(t *testing.T) {
	const scrams, plus, tokens, passwords = "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "OAUTHBEARER XOAUTH2", "PLAIN LOGIN"
	tests := []struct {
		name     string
		change   func(*Server)
		clear    string // the mechanisms offered
		overTLS  string
		insecure bool
	}{
		{"all", func(*Server) {}, "", plus + " " + scrams + " " + tokens + " " + passwords, false},
		{"all, in clear", func(*Server) {}, scrams + " " + tokens + " " + passwords, plus + " " + scrams + " " + tokens + " " + passwords, true},
		{"passwords", func(s *Server) { s.StoredCredentials, s.CheckToken = nil, nil }, passwords, passwords, true},
		{"stored credentials", func(s *Server) { s.Authenticate, s.CheckToken = nil, nil }, scrams, plus + " " + scrams, true},
		{"tokens", func(s *Server) { s.Authenticate, s.StoredCredentials = nil, nil }, tokens, tokens, true},
		{"none", func(s *Server) { s.Authenticate, s.StoredCredentials, s.CheckToken = nil, nil, nil }, "", "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := authServer(t)
				tt.change(srv)
				srv.AllowInsecureAuth = tt.insecure
				c := newWorld(t, srv).dial()
				c.take()
				if got := offeredIn(c.ask(ehlo)); got != tt.clear {
					t.Errorf("in clear: got %q, want %q", got, tt.clear)
				}
				want := "504"
				if !srv.authenticates() {
					want = "502"
				} else if !tt.insecure {
					want = "538"
				}
				c.want("AUTH SCRAM-SHA-256-PLUS\r\n", want)
				c.want("STARTTLS\r\n", "220")
				c.startTLS()
				if got := offeredIn(c.ask(ehlo)); got != tt.overTLS {
					t.Errorf("over TLS: got %q, want %q", got, tt.overTLS)
				}
				for _, name := range strings.Fields(plus + " " + scrams + " " + tokens + " " + passwords) {
					code := "504"
					if slices.Contains(strings.Fields(tt.overTLS), name) {
						code = "334"
					} else if !srv.authenticates() {
						code = "502"
					}
					c.want("AUTH "+strings.ToLower(name)+"\r\n", code)
					if code == "334" {
						c.want("*\r\n", "501")
					}
				}
			})
		})
	}
}

// offeredIn returns the mechanisms in a reply to EHLO.
func offeredIn(reply string) string {
	for line := range strings.Lines(reply) {
		if list, ok := strings.CutPrefix(line[min(4, len(line)):], "AUTH "); ok {
			return strings.TrimSpace(list)
		}
	}
	return ""
}

// TestClientLogsIn: what package client does is understood, by each mechanism, in clear and with both versions of TLS.
func TestClientLogsIn(t *testing.T) {
	token := func(token string) func(context.Context) (string, error) {
		return func(context.Context) (string, error) { return token, nil }
	}
	const wrong, busy = "535 5.7.8 wrong username or password", "454 4.7.0 temporary failure"
	tests := []struct {
		name  string
		auth  smtpclient.Credentials
		mechs string
		want  string // if empty, 235
	}{
		{"right", smtpclient.Credentials{Username: "ann", Password: "secret"}, "PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS", ""},
		{"name with separators", smtpclient.Credentials{Username: "a,b=c", Password: "secret"}, "SCRAM-SHA-256 SCRAM-SHA-256-PLUS", ""},
		{"as oneself", smtpclient.Credentials{Username: "ann", Password: "secret", AuthorizationID: "ann"}, "PLAIN SCRAM-SHA-256", ""},
		{"as another", smtpclient.Credentials{Username: "ann", Password: "secret", AuthorizationID: "bob"}, "PLAIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS", wrong},
		{"wrong", smtpclient.Credentials{Username: "ann", Password: "Secret"}, "PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS", wrong},
		{"unknown", smtpclient.Credentials{Username: "bob", Password: "secret"}, "PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS", wrong},
		{"down", smtpclient.Credentials{Username: "away", Password: "secret"}, "PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS", busy},
		{"disabled", smtpclient.Credentials{Username: "blocked", Password: "secret"}, "PLAIN LOGIN SCRAM-SHA-256", "535 5.7.13 account disabled"},
		{"bad credentials stored", smtpclient.Credentials{Username: "short", Password: "secret"}, "SCRAM-SHA-256", busy},
		{"none stored", smtpclient.Credentials{Username: "nil", Password: "secret"}, "SCRAM-SHA-256", busy},
		{"token", smtpclient.Credentials{Username: "ann", Token: token("good")}, "OAUTHBEARER XOAUTH2", ""},
		{"token alone", smtpclient.Credentials{Token: token("good")}, "OAUTHBEARER", ""},
		{"wrong token", smtpclient.Credentials{Username: "ann", Token: token("bad")}, "OAUTHBEARER XOAUTH2", wrong},
		{"token of another", smtpclient.Credentials{Username: "bob", Token: token("good")}, "OAUTHBEARER XOAUTH2", wrong},
		{"issuer down", smtpclient.Credentials{Username: "ann", Token: token("broken")}, "OAUTHBEARER XOAUTH2", busy},
		{"nobody's token", smtpclient.Credentials{Username: "ann", Token: token("nobody")}, "OAUTHBEARER XOAUTH2", busy},
	}
	for _, tt := range tests {
		for _, mech := range strings.Fields(tt.mechs) {
			for _, version := range []uint16{0, tls.VersionTLS12, tls.VersionTLS13} {
				if version == 0 && mech == "SCRAM-SHA-256-PLUS" {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/%s", tt.name, mech, tls.VersionName(version)), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						srv := authServer(t)
						srv.TLSConfig.MaxVersion = version
						c := newWorld(t, srv).dial()
						c.want(ehlo, "220", "250")
						host := smtp.AuthHost{Mechanisms: []string{mech}}
						if version != 0 {
							host.TLS = c.upgrade()
							c.want(ehlo, "250")
						}
						auth := tt.auth
						auth.Mechanisms = []string{mech} // or SCRAM would say that it could do -PLUS
						x, err := auth.Begin(t.Context(), host)
						if err != nil {
							t.Fatal(err)
						}
						want := tt.want
						if want == "" {
							want = "235 2.7.0 authenticated"
						}
						got, challenges := c.login(x)
						if got != want {
							t.Errorf("got %q after %q, want %q", got, challenges, want)
						}
						if x, ok := x.(smtp.AuthCompleter); ok && tt.want == "" && x.Complete() != nil {
							t.Errorf("the client finds: %v", x.Complete())
						}
						again := "503"
						if tt.want != "" {
							again = "334"
						}
						c.want("AUTH PLAIN\r\n", again)
					})
				})
			}
		}
	}
}

// upgrade does STARTTLS and returns the client's view of the connection.
func (c *client) upgrade() *tls.ConnectionState {
	c.t.Helper()
	c.want("STARTTLS\r\n", "220")
	c.startTLS()
	state := c.conn.(*tls.Conn).ConnectionState()
	return &state
}

// TestUnknownUser: until the proof, an unknown user looks like a known one: the same salt at each attempt, of the same
// length, also on another server with the same secret; and other users have other salts.
func TestUnknownUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := func(srv *Server, name string) (salt, iterations string) {
			c := newWorld(t, srv).dial()
			c.want(ehlo, "220", "250")
			got := c.want("AUTH SCRAM-SHA-256 "+b64("n,,n="+name+",r=abc")+"\r\n", "334")
			challenge, _ := base64.StdEncoding.DecodeString(strings.TrimSpace(got[4:]))
			_, rest, _ := strings.Cut(string(challenge), ",s=")
			salt, iterations, _ = strings.Cut(rest, ",i=")
			return salt, iterations
		}
		srv := authServer(t)
		known, count := first(srv, "ann")
		bob, bobs := first(srv.Clone(), "bob")
		again, _ := first(srv.Clone(), "BOB")
		carol, _ := first(srv.Clone(), "carol")
		if len(bob) != len(known) || bobs != count || again != bob || carol == bob || bob == known {
			t.Errorf("got %s %s for ann, %s %s and %s for bob, %s for carol", known, count, bob, bobs, again, carol)
		}
		other := srv.Clone()
		other.SCRAMSecret = []byte("y")
		if salt, _ := first(other, "bob"); salt == bob {
			t.Error("got the same salt with another secret")
		}
		other = srv.Clone()
		other.SCRAMSecret = nil
		if salt, _ := first(other, "bob"); salt == bob || len(salt) != len(bob) {
			t.Errorf("got salt %s without a secret, want a random one", salt)
		}
	})
}

// TestSCRAMCredentials: what NewSCRAMCredentials makes is verified, and isn't printed.
func TestSCRAMCredentials(t *testing.T) {
	c := annCredentials
	if !c.Verify("secret") || c.Verify("Secret") || c.Verify("") || (*SCRAMCredentials)(nil).Verify("secret") {
		t.Error("Verify is wrong about a password")
	}
	if !c.Verify("sec\u00adret") {
		t.Error("the password wasn't prepared")
	}
	if bad := (&SCRAMCredentials{Salt: c.Salt, Iterations: 1, StoredKey: c.StoredKey, ServerKey: c.ServerKey}); bad.Verify("secret") {
		t.Error("got 1 iteration accepted")
	}
	if got := fmt.Sprintf("%v %+v %#v %s", c, *c, c, c); strings.Count(got, "SCRAM credentials") != 4 || len(got) != 4*18-1 {
		t.Errorf("got %q printed", got)
	}
	for _, tt := range []struct {
		password   string
		iterations int
		want       string
	}{
		{"secret", 4095, "iterations is 4095: set it to 4096 to 10000000, or to 0 for the default"},
		{"secret", -1, "iterations is -1"},
		{"secret", math.MaxInt, "iterations is 9223372036854775807"},
		{"hidden\x07", 0, "password: has control characters"},
		{"", 0, "password: empty"},
	} {
		if _, err := NewSCRAMCredentials(tt.password, tt.iterations); err == nil ||
			!strings.HasPrefix(err.Error(), "server: NewSCRAMCredentials: "+tt.want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%q, %d: got %v, want %q", tt.password, tt.iterations, err, tt.want)
		}
	}
	other, err := NewSCRAMCredentials("secret", scram.MinIterations)
	if err != nil || string(other.Salt) == string(c.Salt) {
		t.Errorf("got salt %x twice, error %v", other.Salt, err)
	}
}
