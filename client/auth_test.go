package client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-sasl"

	"github.com/postrider/postrider/internal/scram"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// once returns an Auth with one exchange. An exchange without state serves any number of sessions.
func once(x smtp.AuthExchange) smtp.Auth {
	return smtp.AuthMechanism(func() smtp.AuthExchange { return x })
}

// plainAuth and loginAuth authenticate ann.
func plainAuth(password string) smtp.Auth { return once(sasl.NewPlainClient("", "ann", password)) }

func loginAuth(password string) smtp.Auth {
	return smtp.AuthMechanism(func() smtp.AuthExchange { return sasl.NewLoginClient("ann", password) })
}

// sessionState returns the TLS state of a client after a handshake.
func sessionState(t *testing.T, version uint16) tls.ConnectionState {
	t.Helper()
	cert, roots := testTLS(t, "mx.example.net")
	client, server := pipe("192.0.2.1:465")
	go tls.Server(server, cert).Handshake()
	tc := tls.Client(client, &tls.Config{RootCAs: roots, ServerName: "mx.example.net", MaxVersion: version})
	if err := tc.Handshake(); err != nil {
		t.Fatal(err)
	}
	return tc.ConnectionState()
}

// scramHost is a submission server with one user, which can break the rules of SCRAM.
type scramHost struct {
	cert     *tls.Config
	offers   string // mechanisms
	password string
	proof    bool // say "v="
	lie      bool // say 235 whatever comes
}

// serve answers one session up to the end of AUTH, and returns the reply to AUTH.
func (h *scramHost) serve(nc *pipeConn) string {
	defer nc.Close()
	tc := tls.Server(nc, h.cert)
	if tc.Handshake() != nil {
		return "no TLS"
	}
	in := bufio.NewReader(tc)
	hear := func() string {
		line, _ := in.ReadString('\n')
		return strings.TrimSuffix(line, "\r\n")
	}
	say := func(format string, args ...any) { fmt.Fprintf(tc, format+"\r\n", args...) }
	say("220 hi")
	hear()
	say("250-host\r\n250 AUTH %s", h.offers)
	mech, ir, _ := strings.Cut(strings.TrimPrefix(hear(), "AUTH "), " ")
	reply := h.scram(mech, tc.ConnectionState(), ir, func(challenge string) string {
		say("334 %s", base64.StdEncoding.EncodeToString([]byte(challenge)))
		return hear()
	})
	if h.lie {
		reply = "235 2.7.0 ok"
	}
	say("%s", reply)
	io.Copy(io.Discard, in)
	return reply
}

// scram is the host's side (RFC 5802 §5).
func (h *scramHost) scram(mech string, state tls.ConnectionState, ir string, ask func(string) string) string {
	const no = "535 5.7.8 no"
	decode := func(s string) string { b, _ := base64.StdEncoding.DecodeString(s); return string(b) }
	parts := strings.SplitN(decode(ir), ",", 3)
	if len(parts) != 3 {
		return no
	}
	flag, bare := parts[0], parts[2]
	var bound []byte
	switch {
	case mech == scram.SHA256 && flag == "n":
	case mech == scram.SHA256 && flag == "y":
		// RFC 5802 §6: we do have it, so someone took it out of our offer.
		ask("e=server-does-support-channel-binding")
		return "535 5.7.8 downgraded"
	case mech == scram.SHA256Plus && flag == "p=tls-exporter":
		bound, _ = state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	case mech == scram.SHA256Plus && flag == "p=tls-unique":
		bound = state.TLSUnique
	default:
		return no
	}
	_, nonce, _ := strings.Cut(bare, ",r=")
	first := "r=" + nonce + "host,s=c2FsdA==,i=4096"
	final := decode(ask(first))
	i := strings.LastIndex(final, ",p=")
	if i < 0 {
		return no
	}
	k := scramKeys(h.password, first)
	auth := bare + "," + first + "," + final[:i]
	cbind := base64.StdEncoding.EncodeToString(append([]byte(flag+",,"), bound...))
	if !h.lie && (final[:i] != "c="+cbind+",r="+nonce+"host" || !k.proves(auth, []byte(decode(final[i+3:])))) {
		ask("e=invalid-proof")
		return no
	}
	if h.proof {
		if ask("v="+base64.StdEncoding.EncodeToString(k.sign(auth))) != "" {
			return "501 5.5.2 not empty"
		}
	}
	return "235 2.7.0 ok"
}

// TestSCRAMPlus: SCRAM over TLS, with a host and with an attacker between.
func TestSCRAMPlus(t *testing.T) {
	tests := []struct {
		name    string
		version uint16 // the highest of TLS; zero: 1.3
		host    scramHost
		plus    bool   // insist on it
		between string // who speaks TLS with us, with a good certificate: "": the host; "relay"; "strip" takes -PLUS out, too
		want    string // how the error ends; empty: none
		host235 bool   // what the host thinks of it
	}{
		{name: "TLS 1.3", host: scramHost{offers: "PLAIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS", proof: true}, plus: true, host235: true},
		{name: "TLS 1.2", version: tls.VersionTLS12, host: scramHost{offers: "PLAIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS", proof: true}, plus: true, host235: true},
		{name: "wrong password", host: scramHost{offers: "SCRAM-SHA-256-PLUS PLAIN LOGIN", password: "other"}, want: "535 5.7.8 no: SCRAM: the host answers invalid-proof"},
		{name: "someone between", host: scramHost{offers: "SCRAM-SHA-256 SCRAM-SHA-256-PLUS", proof: true}, between: "relay", want: "535 5.7.8 no: SCRAM: the host answers invalid-proof"},
		{name: "someone between, TLS 1.2", version: tls.VersionTLS12, host: scramHost{offers: "SCRAM-SHA-256-PLUS", proof: true}, between: "relay", want: "535 5.7.8 no: SCRAM: the host answers invalid-proof"},
		{name: "someone strips the offer", host: scramHost{offers: "SCRAM-SHA-256 SCRAM-SHA-256-PLUS", proof: true}, between: "strip", want: "535 5.7.8 downgraded: SCRAM: the host answers server-does-support-channel-binding"},
		{name: "someone strips the offer, -PLUS insisted on", host: scramHost{offers: "SCRAM-SHA-256 SCRAM-SHA-256-PLUS"}, plus: true, between: "strip", want: `we have SCRAM-SHA-256-PLUS, the host SCRAM-SHA-256`},
		{name: "no proof of the host", host: scramHost{offers: "SCRAM-SHA-256-PLUS"}, want: "didn't prove that it knows the password", host235: true},
		{name: "a host that doesn't know the password", host: scramHost{offers: "SCRAM-SHA-256-PLUS", password: "other", proof: true, lie: true}, want: "it doesn't know the password", host235: true},
		{name: "nor says so", host: scramHost{offers: "SCRAM-SHA-256-PLUS", password: "other", lie: true}, want: "didn't prove that it knows the password", host235: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cert, roots := testTLS(t, "mx.example.net")
				h := test.host
				if h.cert = cert; h.password == "" {
					h.password = "secret"
				}
				client, server := pipe("192.0.2.1:465")
				if test.between != "" {
					far, near := pipe("192.0.2.1:465")
					go between(server, far, cert, test.between == "strip")
					server = near
				}
				reply := make(chan string, 1)
				go func() { reply <- h.serve(server) }()
				auth := &Credentials{Username: "ann", Password: "secret"}
				if test.plus {
					auth.Mechanisms = []string{"SCRAM-SHA-256-PLUS"}
				}
				c := &Conn{Hostname: "client.test", Host: "mx.example.net", TLS: mx.TLSRequired, TLSStart: mx.TLSImplicit, Auth: auth,
					TLSConfig: &tls.Config{RootCAs: roots, MaxVersion: test.version}}
				err := c.Open(t.Context(), client)
				if test.want == "" {
					if err != nil {
						t.Error(err)
					}
					c.Quit(t.Context())
				} else if err == nil || !strings.HasSuffix(err.Error(), test.want) {
					t.Errorf("got %v, want %q", err, test.want)
				} else if strings.Contains(err.Error(), "secret") {
					t.Errorf("the password is in %v", err)
				}
				if got := <-reply; strings.HasPrefix(got, "235") != test.host235 {
					t.Errorf("the host said %s, want success: %t", got, test.host235)
				}
			})
		})
	}
}

// between speaks TLS with both sides and relays their lines. If strip is set, it removes -PLUS from the offer.
func between(client, host *pipeConn, cert *tls.Config, strip bool) {
	to := tls.Server(client, cert)
	from := tls.Client(host, &tls.Config{InsecureSkipVerify: true})
	go func() {
		io.Copy(from, to)
		host.Close()
	}()
	in := bufio.NewReader(from)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			client.Close()
			return
		}
		if strip {
			line = bytes.ReplaceAll(line, []byte(" SCRAM-SHA-256-PLUS"), nil)
		}
		to.Write(line)
	}
}

// TestNoSecretsInErrors: if a host repeats a line of AUTH, no error and no result contains the password, the token or a
// response with one of them.
func TestNoSecretsInErrors(t *testing.T) {
	const password, token = "hunter2hunter2", "ya29.token-of-ann"
	secrets := []string{password, token}
	for _, s := range []string{password, "\x00ann\x00" + password, "user=ann\x01auth=Bearer " + token + "\x01\x01",
		"n,a=ann,\x01auth=Bearer " + token + "\x01\x01"} {
		secrets = append(secrets, base64.StdEncoding.EncodeToString([]byte(s)))
	}
	for _, mech := range []string{"SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN"} {
		for _, code := range []string{"235", "250", "334", "350", "421", "454", "500", "504", "535", "600", "what"} {
			synctest.Test(t, func(t *testing.T) {
				client, server := pipe("127.0.0.1:25")
				go parrot(server, mech, code)
				auth := withCredential(withCredential(nil, "password", password), "token", token)
				c := &Conn{Hostname: "client.test", Host: "mx.localhost", Auth: auth}
				err := c.Open(t.Context(), client)
				var texts []string
				for e := err; e != nil; e = errors.Unwrap(e) {
					texts = append(texts, e.Error())
				}
				if r, ok := errors.AsType[*smtp.Reply](err); ok {
					texts = append(texts, r.Text)
				}
				for _, text := range texts {
					for _, secret := range secrets {
						if strings.Contains(text, secret) {
							t.Errorf("%s, %s: %q has %q", mech, code, text, secret)
						}
					}
				}
				if err == nil && code[0] != '2' {
					t.Errorf("%s, %s: got no error", mech, code)
				}
				c.Close()
			})
		}
	}
}

// parrot is a host that answers AUTH with a code and the line that it received; with LOGIN, the line of the password.
func parrot(nc *pipeConn, mech, code string) {
	defer nc.Close()
	in := bufio.NewReader(nc)
	io.WriteString(nc, "220 hi\r\n")
	asked := 0
	for {
		line, err := in.ReadString('\n')
		line = strings.TrimSuffix(line, "\r\n")
		switch {
		case err != nil:
			return
		case strings.HasPrefix(line, "EHLO"):
			io.WriteString(nc, "250-host\r\n250 AUTH "+mech+"\r\n")
		case mech == "LOGIN" && asked < 2:
			asked++
			io.WriteString(nc, "334 \r\n")
		default:
			io.WriteString(nc, code+" 5.5.2 what is '"+line+"'?\r\n")
		}
	}
}

// TestLongToken: a response has at most the 12288 octets of RFC 4954 §4.
func TestLongToken(t *testing.T) {
	around := len("user=ann\x01auth=Bearer \x01\x01")
	for _, test := range []struct {
		length int // of the response, before base64
		want   string
	}{
		{9213, "client: a.localhost: auth: 535 5.7.8 no"},
		{9216, "client: a.localhost: auth: 535 5.7.8 no: the response has 9216 octets, AUTH allows 9213: use a shorter token or password"},
	} {
		synctest.Test(t, func(t *testing.T) {
			client, server := pipe("127.0.0.1:25")
			go play(server, steps("S: 220 hi\nC: EHLO\nS: 250-host\nS: 250 AUTH XOAUTH2\nC: AUTH XOAUTH2\nS: 334 \nC: token\nS: 535 5.7.8 no\nC: QUIT\neof"), nil, nil)
			c := &Conn{Hostname: "client.test", Host: "a.localhost", Auth: withCredential(nil, "token", strings.Repeat("t", test.length-around))}
			err := c.Open(t.Context(), client)
			if err == nil || err.Error() != test.want {
				t.Errorf("%d octets: got %v, want %s", test.length, err, test.want)
			}
		})
	}
}

// TestTokenTime: a call of Token ends after the time of one command, or with the ctx of the caller.
func TestTokenTime(t *testing.T) {
	for _, test := range []struct {
		name   string
		cancel time.Duration
		want   time.Duration
		text   string
	}{
		{"no token", time.Hour, 5 * time.Minute, "auth: 451 4.7.0 AUTH could not begin: Credentials.Token: context deadline exceeded"},
		{"called off", time.Minute, time.Minute, "auth: 451 4.4.2 the attempt was cancelled: context deadline exceeded"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := pipe("127.0.0.1:25")
				go play(server, steps("S: 220 hi\nC: EHLO\nS: 250-host\nS: 250 AUTH XOAUTH2\neof"), nil, nil)
				c := &Conn{Hostname: "client.test", Host: "a.localhost", Auth: &Credentials{Username: "ann", Token: func(ctx context.Context) (string, error) {
					<-ctx.Done()
					return "", ctx.Err()
				}}}
				ctx, cancel := context.WithTimeout(t.Context(), test.cancel)
				defer cancel()
				start := time.Now()
				err := c.Open(ctx, client)
				if got := time.Since(start); got != test.want {
					t.Errorf("got %v, want %v", got, test.want)
				}
				if err == nil || !strings.HasSuffix(err.Error(), test.text) {
					t.Errorf("got %v, want %q", err, test.text)
				}
			})
		})
	}
}

// yes finds a reply that ends AUTH well.
var yes = regexp.MustCompile(`(?m)^2[0-9][0-9][ \t\r]`)

// FuzzAuth has a host that sends anything after AUTH. An error always holds a reply. There is no error only if the host
// has sent a 2xx, and with SCRAM its proof.
func FuzzAuth(f *testing.F) {
	challenge := "334 " + base64.StdEncoding.EncodeToString([]byte(vectorFirst)) + "\r\n"
	proof := "334 " + base64.StdEncoding.EncodeToString([]byte(vectorServer)) + "\r\n"
	for _, s := range []string{
		challenge + "|" + proof + "|235 ok\r\n", challenge + "|235 ok\r\n", "235 ok\r\n", "504 no\r\n|235 ok\r\n", "334 \r\n|334 \r\n|235 ok\r\n",
		"334 User:\r\n|350-\r\n399 Pass\r\n|\r\n299 ok\r\n", "334 " + challenge[4:] + "|" + "300 " + proof[4:] + "|250 ok\r\n",
		"334-\r\n334 \r\n|501 no\r\n", "334 !\r\n|235 ok\r\n", "334 ZT14\r\n|535 no\r\n", "421 bye\r\n", "235 ok\r\n250 more\r\n", "AUTH\r\n",
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, said string, scram bool) {
		for part := range strings.FieldsSeq(said) {
			if b, err := base64.StdEncoding.DecodeString(part); err == nil && expensive.Match(b) {
				t.Skip("expensive")
			}
		}
		auth := withCredential(withCredential(nil, "user", "user"), "password", "pencil")
		offer := "220 hi\r\n|250-a\r\n250 AUTH SCRAM-SHA-256\r\n|"
		if !scram {
			offer = "220 hi\r\n|250-a\r\n250 AUTH LOGIN PLAIN\r\n|"
		}
		nc := &spoken{parts: strings.Split(offer+said, "|")}
		c := &Conn{Hostname: "client.test", Host: "a.localhost", Addr: "127.0.0.1:25", Auth: auth}
		err := c.Open(context.Background(), nc)
		if err == nil {
			if !yes.MatchString(strings.ReplaceAll(said, "|", "")) || scram && !strings.Contains(said, base64.StdEncoding.EncodeToString([]byte(vectorServer[:45]))) {
				t.Errorf("got no error")
			}
		} else if _, ok := errors.AsType[*smtp.Reply](err); !ok {
			t.Errorf("no reply in %v", err)
		}
	})
}
