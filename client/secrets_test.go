package client

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// TestEchoes: if a host repeats a response of AUTH, no Trace and no error contains it.
func TestEchoes(t *testing.T) {
	const (
		start = "S: 220 hi\nC: EHLO client.test\nS: 250-host\nS: 250 AUTH "
		plain = "AUTH PLAIN AGFubgBzZWNyZXQ="
	)
	tests := []struct {
		name   string
		auth   smtp.Auth
		script string
	}{
		{"in the reply", plainAuth("secret"), start + "PLAIN\nC: " + plain + "\nS: 535 5.7.8 wrong: '" + plain + "'\nC: QUIT\neof"},
		{"in what is no reply", plainAuth("secret"), start + "PLAIN\nC: " + plain + "\nS: what is " + plain + "\neof"},
		{"one step later", plainAuth("secret"), start + "PLAIN\nC: " + plain + "\nS: 334 YQ==\nC: *\nS: 535 5.7.8 wrong: '" + plain + "'\nC: QUIT\neof"},
		{"cut", plainAuth("secret"), start + "PLAIN\nC: " + plain + "\nS: 535 5.7.8 wrong: 'AUTH PLAIN AGFubgBzZWNyZ...'\nC: QUIT\neof"},
		{"after some steps", &Credentials{Username: "ann", Password: "secret", Mechanisms: []string{"LOGIN"}},
			start + "LOGIN\nC: AUTH LOGIN\nS: 334 \nC: YW5u\nS: 334 \nC: c2VjcmV0\nS: 334 \nC: *\nS: 535 no: c2VjcmV0\nC: QUIT\neof"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := pipe("127.0.0.1:25")
				done := make(chan []string)
				go func() { done <- play(server, steps(tt.script), nil, nil) }()
				var lines []string
				c := &Conn{Hostname: "client.test", Host: "a.localhost", TLS: mx.TLSNone, Auth: tt.auth, Trace: record(&lines)}
				err := c.Open(t.Context(), client)
				if got, want := strings.Join(<-done, "\n"), strings.Join(steps(tt.script), "\n"); got != want {
					t.Errorf("got\n%s\nwant\n%s", got, want)
				}
				all := strings.Join(lines, "\n")
				for _, secret := range []string{"AGFubgBz", "c2VjcmV0"} {
					if strings.Contains(all, secret) {
						t.Errorf("got a trace with the secret:\n%s", all)
					}
					if err == nil || strings.Contains(err.Error(), secret) {
						t.Errorf("got error %v", err)
					}
				}
			})
		})
	}
}
