package client

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/smtp"
)

// TestMaxMessages: a session ends after MaxMessages, or before that if the host wants fewer.
func TestMaxMessages(t *testing.T) {
	tests := []struct {
		name     string
		most     func(string) int
		bound    int // of the host
		sessions int // for 7 messages
		refused  int
	}{
		{"none", nil, 100, 1, 0},
		{"zero", func(string) int { return 0 }, 100, 1, 0},
		{"negative", func(string) int { return -1 }, 100, 1, 0},
		{"one", func(string) int { return 1 }, 100, 7, 0},
		{"three", func(string) int { return 3 }, 100, 3, 0},
		{"more than the host's own", func(string) int { return 5 }, 2, 4, 1}, // which it says once
		{"less than the host's own", func(string) int { return 2 }, 5, 4, 0},
		{"panic", func(string) int { panic("no") }, 100, 1, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &boundedHost{bound: tt.bound, at: smtp.StageMail, refusal: "452 4.5.3 too many messages in this session"}
				var tries, hosts []string
				tr := h.transport(newInternet(t), &tries)
				if tt.most != nil {
					tr.MaxMessages = func(host string) int {
						hosts = append(hosts, host)
						return tt.most(host)
					}
				}
				for i := range 7 {
					env := smtp.NewEnvelope("ann@client.test", fmt.Sprintf("bob%d@example.net", i))
					if results, err := tr.Send(t.Context(), env, smtp.Text("Hello.\n")); err != nil {
						t.Errorf("message %d: got %s", i, show(results))
					}
				}
				tr.Close()
				if h.sessions != tt.sessions || h.refused != tt.refused {
					t.Errorf("got %d sessions, %d of them refused a message; want %d, %d",
						h.sessions, h.refused, tt.sessions, tt.refused)
				}
				if got := strings.Join(hosts, " "); tt.most != nil &&
					got != strings.TrimSpace(strings.Repeat("127.0.0.1 ", tt.sessions)) {
					t.Errorf("got it called for %q, want once for each session", got)
				}
			})
		})
	}
}
