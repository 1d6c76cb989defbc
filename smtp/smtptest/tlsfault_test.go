package smtptest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

func TestFailTLS(t *testing.T) {
	tests := []struct {
		name  string
		fault TLSFault
		ok    func(err error) bool
	}{
		{"none", NoTLSFault, func(err error) bool { return err == nil }},
		{"alert", TLSAlert, func(err error) bool {
			_, ok := errors.AsType[tls.AlertError](err)
			return ok || err != nil && err.Error() == "remote error: tls: internal error"
		}},
		{"large hello", TLSLargeHello, func(err error) bool {
			return err != nil && err.Error() == "remote error: tls: internal error"
		}},
		{"wrong name", TLSWrongName, func(err error) bool {
			_, ok := errors.AsType[x509.HostnameError](err)
			return ok
		}},
		{"expired", TLSExpired, func(err error) bool {
			e, ok := errors.AsType[x509.CertificateInvalidError](err)
			return ok && e.Reason == x509.Expired
		}},
		{"untrusted", TLSUntrusted, func(err error) bool {
			_, ok := errors.AsType[x509.UnknownAuthorityError](err)
			return ok
		}},
	}
	for _, test := range tests {
		for _, port := range []string{"25", "465"} {
			t.Run(test.name+" at "+port, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := NewNetwork(t)
					h := n.Host("mx.example.net")
					h.FailTLS(test.fault)
					handshake := func(config *tls.Config) error {
						c, err := n.DialContext(t.Context(), "tcp", "mx.example.net:"+port)
						if err != nil {
							t.Fatal(err)
						}
						defer c.Close()
						if port == "25" {
							talk(t, c, ": 220", "EHLO a: 250", "STARTTLS: 220")
						}
						return tls.Client(c, config).Handshake()
					}
					config := &tls.Config{ServerName: h.Name(), RootCAs: n.RootCAs()}
					for range 2 {
						if err := handshake(config); !test.ok(err) {
							t.Errorf("got %T %v", err, err)
						}
					}
					if test.fault != TLSAlert {
						small := []tls.CurveID{tls.X25519}
						if err := handshake(&tls.Config{InsecureSkipVerify: true, CurvePreferences: small}); err != nil {
							t.Errorf("without verifying: got %v", err)
						}
					}
					h.Heal()
					if err := handshake(config); err != nil {
						t.Errorf("healed: got %v", err)
					}
				})
			})
		}
	}
}

// TestStallInHandshake: Heal continues the handshake, and the client can end it.
func TestStallInHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(t)
		h := n.Host("mx.example.net")
		h.FailTLS(TLSStall)
		config := &tls.Config{ServerName: h.Name(), RootCAs: n.RootCAs()}

		c := dial(t, h)
		talk(t, c, ": 220", "EHLO a: 250", "STARTTLS: 220")
		c.SetDeadline(time.Now().Add(10 * time.Minute))
		if err := tls.Client(c, config).Handshake(); err == nil {
			t.Error("the handshake was done")
		}
		c.Close()
		h.WaitSessions(0)

		c = dial(t, h)
		talk(t, c, ": 220", "EHLO a: 250", "STARTTLS: 220")
		time.AfterFunc(10*time.Minute, h.Heal)
		start := time.Now()
		tc := tls.Client(c, config)
		if err := tc.Handshake(); err != nil || time.Since(start) != 10*time.Minute {
			t.Errorf("got %v after %v, want TLS after 10m", err, time.Since(start))
		}
		talk(t, tc, "EHLO a: 250", "QUIT: 221")
		if _, err := io.ReadAll(tc); err != nil {
			t.Errorf("got %v, want the end", err)
		}
	})
}
