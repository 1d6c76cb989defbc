package client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-sasl"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestDialogues plays each file of testdata/dialogues: settings, the dialogue, and the results, as
//
//	# What it shows.
//	> setting value
//	S: what the host says
//	C: what the client says
//	= what comes of it
func TestDialogues(t *testing.T) {
	files, err := filepath.Glob("testdata/dialogues/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no dialogues", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got string
			synctest.Test(t, func(t *testing.T) { got = dialogue(t, string(want)) })
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o666); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// dialogue plays one file and gives it as it went.
func dialogue(t *testing.T, file string) string {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cert, pool := testTLS(t, "mx.example.net")
	c := &Conn{Hostname: "client.example.com", Host: "mx.example.net", TLS: mx.TLSNone}
	env := &smtp.Envelope{From: "ann@example.com"}
	content := smtp.Content(smtp.Text("Subject: hi\n\nHello.\n"))
	addr := "192.0.2.1:25"
	sends := 1

	var head, script []string
	for line := range strings.SplitSeq(strings.TrimSuffix(file, "\n"), "\n") {
		switch {
		case strings.HasPrefix(line, "#"), strings.HasPrefix(line, ">"):
			head = append(head, line)
		case !strings.HasPrefix(line, "="):
			script = append(script, line)
		}
		setting, ok := strings.CutPrefix(line, "> ")
		if !ok {
			continue
		}
		name, value, _ := strings.Cut(setting, " ")
		switch name {
		case "addr":
			addr = value
		case "lmtp":
			c.LMTP = true
		case "tls":
			c.TLS = map[string]mx.TLSLevel{"required": mx.TLSRequired, "opportunistic": mx.TLSOpportunistic}[value]
		case "implicit":
			c.TLS, c.TLSStart = mx.TLSRequired, mx.TLSImplicit
		case "trust":
			c.TLSConfig = &tls.Config{RootCAs: pool}
		case "auth":
			c.Auth = plainAuth(value)
		case "login":
			c.Auth = loginAuth(value)
		case "oauth":
			c.Auth = once(sasl.NewOAuthBearerClient(&sasl.OAuthBearerOptions{Username: "ann", Token: value}))
		case "password", "token", "user", "identity", "mechanisms":
			c.Auth = withCredential(c.Auth, name, value)
		case "from":
			env.From = value
		case "to":
			for to := range strings.FieldsSeq(value) {
				env.Recipients = append(env.Recipients, smtp.Recipient{Address: to})
			}
		case "notify":
			n, _ := strconv.Atoi(value)
			env.Recipients[0].Notify = smtp.Notify(n)
		case "orcpt":
			env.Recipients[0].ORCPT = value
		case "envid":
			env.EnvID = value
		case "ret":
			env.Ret = smtp.RetHeaders
		case "utf8":
			env.UTF8 = true
		case "content":
			s, err := strconv.Unquote(value)
			if err != nil {
				t.Fatal(err)
			}
			content = strings.NewReader(s)
		case "unreadable": // after so many octets, once it was scanned
			n, _ := strconv.ParseInt(value, 10, 64)
			content = &failingContent{Content: bytes.NewReader(bytes.Repeat([]byte("0123456789abcd\r\n"), 8192)), after: n,
				err: errors.New("disk on fire"), scans: 1}
		case "chunk":
			c.ChunkSize, _ = strconv.ParseInt(value, 10, 64)
		case "binary":
			env.Body = smtp.BodyBinaryMIME
		case "sends":
			sends, _ = strconv.Atoi(value)
		default:
			t.Fatalf("setting %s", name)
		}
	}
	if strings.HasPrefix(addr, "127.") { // a name of this machine, so that AUTH in the clear is allowed
		c.Host = "mx.localhost"
	}
	client, server := pipe(addr)
	heard := make(chan []string)
	go func() { heard <- play(server, script, cert, cancel) }()

	var out []string
	say := func(s string) {
		for line := range strings.SplitSeq(strings.TrimSuffix(s, "\n"), "\n") {
			out = append(out, "= "+line)
		}
	}
	if err := c.Open(ctx, client); err != nil {
		say(err.Error())
	} else {
		for range sends {
			results, err := c.Send(ctx, env, content)
			say(show(results))
			if err != nil {
				say(err.Error())
			}
		}
		if c.Ready() {
			say("ready")
		}
		c.Quit(context.Background())
	}
	lines := append(head, <-heard...)
	return strings.Join(append(lines, out...), "\n") + "\n"
}

// TestManyRecipients: thousands of recipients don't block both sides in writing, though this host answers at
// length, reads nothing while it does, and buffers are small.
func TestManyRecipients(t *testing.T) {
	for _, pipelining := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			client, server := pipe("192.0.2.1:25")
			go func() {
				defer server.Close()
				in := bufio.NewReaderSize(server, 16) // hears a line at a time
				say := func(s string) { io.WriteString(server, s+"\r\n") }
				say("220 hi")
				for {
					line, err := in.ReadString('\n')
					if err != nil {
						return
					}
					switch {
					case strings.HasPrefix(line, "EHLO") && pipelining:
						say("250-host\r\n250 PIPELINING")
					case strings.HasPrefix(line, "RCPT TO:<7"):
						say("550 " + strings.Repeat("x", 400))
					case line == "DATA\r\n":
						say("354 go")
					default:
						say("250 " + strings.Repeat("x", 400))
					}
				}
			}()
			c := &Conn{Hostname: "client.test"}
			if err := c.Open(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			env := smtp.NewEnvelope("ann@client.test")
			for i := range 5000 {
				env.Recipients = append(env.Recipients, smtp.Recipient{Address: fmt.Sprintf("%d@example.net", i)})
			}
			start := time.Now()
			results, _ := c.Send(t.Context(), env, smtp.Text(""))
			if time.Since(start) != 0 {
				t.Errorf("pipelining %t: blocked for %v", pipelining, time.Since(start))
			}
			for i, r := range results {
				want := smtp.Delivered
				if strings.HasPrefix(r.Recipient, "7") {
					want = smtp.Rejected
				}
				if r.Recipient != env.Recipients[i].Address || r.Outcome != want {
					t.Fatalf("pipelining %t: got %s", pipelining, show(results[i:i+1]))
				}
			}
			c.Close()
			if n := len(client.writes); pipelining && n > 30 {
				t.Errorf("got %d writes, want groups of commands", n)
			}
		})
	}
}

// TestConnMisuse: what can't be done is an error, not a panic.
func TestConnMisuse(t *testing.T) {
	env, content := smtp.NewEnvelope("ann@client.test", "bob@example.net"), smtp.Text("Hello.\n")
	synctest.Test(t, func(t *testing.T) {
		c := &Conn{Host: "a.test"}
		results, err := c.Send(t.Context(), env, content)
		if want := "client: a.test: mail: 451 4.4.2 the session is over: use of closed network connection"; err == nil || err.Error() != want || len(results) != 1 {
			t.Errorf("not open: got %v, want %s", err, want)
		}
		if err := c.Quit(t.Context()); err != nil || c.Ready() {
			t.Errorf("not open: Quit: %v", err)
		}
		for _, name := range []string{"a b", "a\r\nRSET", "[1.2.3]", "[192.0.2.1", ".", "[IPv6:::1]\r\nRSET"} {
			client, server := pipe("192.0.2.1:25")
			c := &Conn{Hostname: name}
			if err := c.Open(t.Context(), client); err == nil {
				t.Errorf("Hostname %q: got no error", name)
			}
			if got, _ := io.ReadAll(server); string(got) != "" && string(got) != "QUIT\r\n" {
				t.Errorf("Hostname %q: got %q on the wire", name, got)
			}
		}
		client, server := pipe("192.0.2.1:25")
		go play(server, steps("S: 220 hi\nC: EHLO x\nS: 250 hi\nC: QUIT\nS: 221 bye"), nil, nil)
		c = &Conn{Hostname: "[IPv6:2001:db8::1]"}
		if err := c.Open(t.Context(), client); err != nil {
			t.Error(err)
		}
		c.Quit(t.Context())
		results, err = c.Send(t.Context(), env, content)
		if !errors.Is(err, net.ErrClosed) || results[0].Outcome != smtp.Deferred {
			t.Errorf("after Quit: got %v", err)
		}
		client, server = pipe("192.0.2.1:25")
		go play(server, steps("S: 220 hi\nC: EHLO x\nS: 250 hi\nC: QUIT"), nil, nil)
		c = &Conn{Hostname: "client.test"}
		if err := c.Open(t.Context(), client); err != nil {
			t.Error(err)
		}
		said := len(client.writes)
		for _, bad := range []*smtp.Envelope{
			smtp.NewEnvelope("ann@client.test", "bob@example.net>\r\nRSET"),
			smtp.NewEnvelope("ann@client.test> BODY=X", "bob@example.net"),
			{From: "ann@client.test", Recipients: []smtp.Recipient{{Address: "bob@example.net"}}, EnvID: "1\r\nRSET"},
		} {
			results, err = c.Send(t.Context(), bad, content)
			if err == nil || results[0].Outcome != smtp.Rejected || !results[0].Local || len(client.writes) != said {
				t.Errorf("got %s, %v, and %d writes", show(results), err, len(client.writes)-said)
			}
		}
		c.Quit(t.Context())
		results, err = c.Send(t.Context(), smtp.NewEnvelope("ann@client.test"), content)
		if err == nil || len(results) != 0 {
			t.Errorf("no recipients: got %v, %v", results, err)
		}
	})
}

// TestArm: a deadline that is set when ctx has ended doesn't undo the abort.
func TestArm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := &Conn{}
		c.nc, _ = pipe("192.0.2.1:25")
		stop := c.watch(ctx)
		cancel()
		synctest.Wait()
		start := time.Now()
		c.arm(ctx, time.Hour)
		if _, err := c.nc.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 0 {
			t.Errorf("got %v after %v, want the deadline at once", err, time.Since(start))
		}
		if c.unwatch(stop); c.Ready() {
			t.Errorf("got a session that is ready, want it spoiled")
		}
	})
}

// goAheads finds a reply that DATA may have to be answered by before the message is sent.
var goAheads = regexp.MustCompile(`(?m)^3[0-9][0-9][ \t\r-]`)

// FuzzConn has a host say anything at all. What holds then: a result for each recipient, nobody delivered
// without a 3xx and a 2xx, and no word of the message before the 3xx.
func FuzzConn(f *testing.F) {
	for _, s := range []string{
		"220 hi\r\n250-a\r\n250 PIPELINING\r\n250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n250 ok\r\n250 ok\r\n",
		"220 hi\r\n|250-a\r\n250 PIPELINING\r\n|250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n|250 ok\r\n250 ok\r\n",
		"220 hi\r\n|500 a\r\n|250 a\r\n|250 ok\r\n|250 ok\r\n|452 no\r\n|354 go\r\n|250 ok\r\n",
		"220 hi\r\n|250-a\r\n250-SIZE 99999999999999999999\r\n250-AUTH\r\n250 STARTTLS\r\n|454 no\r\n|421 bye\r\n",
		"220 hi\r\n|250-a\r\n250 STARTTLS\r\n|220 go\r\n|\x15\x03\x01\x00\x02\x02\x28",
		"\r\n220 hi\r\n\r\n|250-a\r\nb\r\n251 PIPE LINING\r\n|ok\r\n250 ok\r\n250-ok\r\n550 no\r\n\r\n201 ok\r\n350 go\r\n\r\n|\r\n299-ok\r\n\r\n250 ok\r\n\r\n250 ok\r\n",
		"220-hi\r\n521 no\r\n", "550-no\r\n220 hi\r\n",
		"220-hi\r\n220-" + strings.Repeat("x", 5000) + "\r\n", "999 hi\r\n", "220 hi\n", "\x00", "",
	} {
		f.Add(s, false)
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, said string, lmtp bool) {
		nc := &spoken{parts: strings.Split(said, "|")}
		c := &Conn{Hostname: "client.test", Host: "a.test", LMTP: lmtp}
		if err := c.Open(context.Background(), nc); err != nil {
			if _, ok := errors.AsType[*smtp.Reply](err); !ok {
				t.Errorf("no reply in %v", err)
			}
			return
		}
		env := smtp.NewEnvelope("ann@client.test", "bob@example.net", "eve@example.net")
		for range 2 {
			results, err := c.Send(context.Background(), env, smtp.Text("Subject: SECRET\n\nSECRET\n"))
			if len(results) != 2 {
				t.Fatalf("got %d results", len(results))
			}
			delivered := 0
			for i, r := range results {
				if r.Reply == nil || r.Recipient != env.Recipients[i].Address {
					t.Fatalf("got result %+v", r)
				}
				if r.Outcome == smtp.Delivered {
					delivered++
					if r.Reply.Code/100 != 2 || r.Local || r.Stage != smtp.StageFinal {
						t.Errorf("delivered: %s", show(results[i:i+1]))
					}
				}
			}
			if (err == nil) != (delivered == 2) {
				t.Errorf("%d delivered, and error %v", delivered, err)
			}
			if delivered > 0 && (!goAheads.MatchString(strings.ReplaceAll(said, "|", "")) || !bytes.Contains(nc.heard, []byte("SECRET\r\n.\r\n"))) {
				t.Errorf("delivered without having been sent")
			}
		}
		if bytes.Contains(nc.heard, []byte("SECRET")) && !goAheads.MatchString(strings.ReplaceAll(said, "|", "")) {
			t.Errorf("the message was sent without a 3xx")
		}
		c.Quit(context.Background())
	})
}

// spoken is a connection that says one part a Read, and then ends.
type spoken struct {
	net.Conn
	parts []string
	heard []byte
}

func (c *spoken) Read(b []byte) (int, error) {
	if len(c.parts) == 0 {
		return 0, io.EOF
	}
	n := copy(b, c.parts[0])
	if c.parts[0] = c.parts[0][n:]; c.parts[0] == "" {
		c.parts = c.parts[1:]
	}
	return n, nil
}
func (c *spoken) Write(b []byte) (int, error) { c.heard = append(c.heard, b...); return len(b), nil }
func (c *spoken) Close() error                { return nil }
func (c *spoken) RemoteAddr() net.Addr        { return pipeAddr("192.0.2.1:25") }
func (c *spoken) SetDeadline(time.Time) error { return nil }
