package postrider

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// TestSmuggling: what isn't CRLF.CRLF ends no message, from the way in to the way out. The mail is refused, the one
// within it is part of it, and the connection is closed: nothing behind it is read.
func TestSmuggling(t *testing.T) {
	ends := []string{"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\n", "\r.\r\n", "\r\n.\r", "\r\n.\r\r\n", "\r\n\x00.\r\n", "\r\n.\x00\r\n"}
	for _, end := range ends {
		t.Run(fmt.Sprintf("%q", end), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				host := inet.MX("next.test", "mx.next.test")
				r := newRelay(inet)
				r.Allow = allowAll
				l, err := inet.Listen("relay.test:25")
				if err != nil {
					t.Fatal(err)
				}
				inet.Go(func(ctx context.Context) error { return r.Serve(ctx, l) })

				conn, err := inet.DialContext(t.Context(), "tcp", "relay.test:25")
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				const envelope = "MAIL FROM:<ann@source.test>\r\nRCPT TO:<bob@next.test>\r\nDATA\r\n"
				io.WriteString(conn, "EHLO source.test\r\n")
				io.WriteString(conn, envelope)
				io.WriteString(conn, "Subject: outer\r\n\r\nouter"+end+envelope+"Subject: inner\r\n\r\ninner\r\n.\r\n")
				io.WriteString(conn, envelope+"Subject: after\r\n\r\nafter\r\n.\r\nQUIT\r\n")
				var codes []string
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					if line := lines.Text(); line[3] == ' ' {
						codes = append(codes, line[:3])
					}
				}
				if got, want := strings.Join(codes, " "), "220 250 250 250 354 521"; got != want {
					t.Errorf("got replies %s, want %s", got, want)
				}
				if mails := host.Messages(); len(mails) != 0 {
					t.Errorf("got %d mails at the next host, want none", len(mails))
				}
			})
		})
	}
}

func allowAll(context.Context, *server.Peer, smtp.Recipient) (bool, error) { return true, nil }
