package server

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp"
)

var update = flag.Bool("update", false, "rewrite the dialogues under testdata")

// TestDialogue plays the dialogues under testdata. Lines:
//
//	# …           a comment
//	! Name value  a setting of the server, see configure
//	C: line       the client sends the line with CRLF; lines that follow one another are sent in one piece
//	C. "octets"   the client sends exactly these octets, a Go string
//	T:            the client does a TLS handshake
//	W: 5m         time passes
//	S: line       the server sent this line ("S." and a Go string if it isn't a line of ASCII)
//	S. closed     the server has closed the connection
//	H: …          the Handler received this message, or this error of its body
//
// -update rewrites the S and H lines.
func TestDialogue(t *testing.T) {
	files, err := filepath.Glob("testdata/dialogues/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("got %d dialogues and error %v, want some", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				got := play(t, string(want))
				if got == string(want) {
					return
				}
				if !*update {
					t.Fatalf("got the dialogue below, want that of %s (-update rewrites it)\n%s",
						file, difference(got, string(want)))
				}
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// difference returns got with a mark at the first line that differs from want.
func difference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i, line := range g {
		if i >= len(w) || w[i] != line {
			wanted := "the end"
			if i < len(w) {
				wanted = w[i]
			}
			g[i] = fmt.Sprintf("%s\n>>> line %d; want %s", line, i+1, wanted)
			break
		}
	}
	return strings.Join(g, "\n")
}

// play runs a script and returns it with the S and H lines of this run.
func play(t *testing.T, script string) string {
	p := &player{t: t, handler: &actor{}}
	srv := &Server{Handler: p.handler}
	for line := range strings.Lines(script) {
		line = strings.TrimSuffix(line, "\n")
		kind, text, _ := strings.Cut(line, " ")
		if kind != "C:" && kind != "C." {
			p.flush(srv, kind == "#" || kind == "!" || line == "")
		}
		switch kind {
		case "S:", "S.", "H:":
			continue
		case "!":
			configure(t, srv, text)
		case "C:":
			p.pending += text + "\r\n"
		case "C.":
			raw, err := strconv.Unquote(text)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			p.pending += raw
		case "T:":
			p.client.startTLS()
		case "W:":
			d, err := time.ParseDuration(text)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(d)
		}
		p.out.WriteString(line + "\n")
		if kind == "T:" || kind == "W:" {
			p.listen()
		}
	}
	p.flush(srv, false)
	return p.out.String()
}

type player struct {
	t       *testing.T
	client  *client // nil: not connected yet
	handler *actor
	pending string // to be sent
	out     strings.Builder
	over    bool // "closed" was noted
}

// flush sends the pending octets and records the answers. If early, it doesn't open a connection.
func (p *player) flush(srv *Server, early bool) {
	if p.client == nil {
		if early {
			return
		}
		p.client = newWorld(p.t, srv).dial()
		if p.pending != "" {
			p.t.Fatal("got a script that begins with the client, want the greeting first")
		}
		p.listen()
	}
	if p.pending == "" {
		return
	}
	p.client.send(p.pending)
	p.pending = ""
	p.listen()
}

// listen records the replies of the server and the messages of the Handler.
func (p *player) listen() {
	said := p.client.take()
	for line := range strings.Lines(said) {
		if text, ok := strings.CutSuffix(line, "\r\n"); ok && !smtp.NeedsUTF8(text) {
			fmt.Fprintf(&p.out, "S: %s\n", text)
		} else {
			fmt.Fprintf(&p.out, "S. %q\n", line)
		}
	}
	for _, seen := range p.handler.read() {
		fmt.Fprintf(&p.out, "H: %s\n", seen)
	}
	if p.client.closed() && !p.over {
		p.over = true
		p.out.WriteString("S. closed\n")
	}
}

// configure sets a field of srv.
func configure(t *testing.T, srv *Server, setting string) {
	name, value, _ := strings.Cut(setting, " ")
	number, _ := strconv.Atoi(value)
	duration, _ := time.ParseDuration(value)
	switch name {
	case "TLS":
		srv.TLSConfig = testTLS(t)
	case "Auth":
		srv.Authenticate = authenticate
	case "AllowInsecureAuth":
		srv.AllowInsecureAuth = true
	case "RequireAuth":
		srv.RequireAuth = true
	case "Connect":
		srv.Handler.(*actor).connect = value
	case "MaxSize":
		srv.MaxSize = int64(number)
	case "MaxLine":
		srv.MaxLine = number
	case "MaxRecipients":
		srv.MaxRecipients = number
	case "MaxDrain":
		srv.MaxDrain = int64(number)
	case "MaxErrors":
		srv.MaxErrors = number
	case "MaxCommands":
		srv.MaxCommands = number
	case "CommandTimeout":
		srv.CommandTimeout = duration
	case "SessionTimeout":
		srv.SessionTimeout = duration
	case "DataTimeout":
		srv.DataTimeout = duration
	case "MinDataRate":
		srv.MinDataRate = number
	default:
		t.Fatalf("got setting %q, want one that is known", name)
	}
}

// authenticate accepts the user ann with the password "secret".
func authenticate(ctx context.Context, p *Peer, username, password string) error {
	switch {
	case username == "ann" && password == "secret":
		return nil
	case username == "away":
		return errors.New("the directory at 10.0.0.1 is down")
	case username == "blocked":
		return fmt.Errorf("%s: %w", username, smtp.NewReply(535, "5.7.13", "account disabled"))
	case username == "panic":
		panic("no such account")
	}
	return ErrAuthFailed
}

// actor is a Handler whose behaviour depends on the addresses of the message.
type actor struct {
	connect string // the reply of CheckConnect, "554 5.7.1 no"; if empty, none

	mu  sync.Mutex
	log []string
}

func (a *actor) note(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.log = append(a.log, fmt.Sprintf(format, args...))
}

// read returns the entries since its last call.
func (a *actor) read() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	log := a.log
	a.log = nil
	return log
}

func (a *actor) CheckConnect(ctx context.Context, p *Peer) error {
	if a.connect == "" {
		return nil
	}
	if a.connect == "broken" {
		return errors.New("the database has password hunter2")
	}
	code, text, _ := strings.Cut(a.connect, " ")
	n, _ := strconv.Atoi(code)
	return &smtp.Reply{Code: n, Text: text}
}

func (a *actor) CheckMail(ctx context.Context, p *Peer, env *smtp.Envelope) error {
	if env.From == "spammer@example.com" {
		return smtp.NewReply(550, "5.7.1", "not you")
	}
	return nil
}

func (a *actor) CheckRcpt(ctx context.Context, p *Peer, env *smtp.Envelope, rcpt smtp.Recipient) error {
	switch local, _ := smtp.SplitAddress(rcpt.Address); local {
	case "unknown":
		return smtp.NewReply(550, "5.1.1", "no such user")
	case "plain":
		return smtp.NewReply(550, "", "no enhanced code\nand two lines")
	case "wrapped":
		return fmt.Errorf("looking up: %w", smtp.NewReply(450, "4.2.1", "mailbox busy"))
	case "broken":
		return errors.New("the database has password hunter2")
	case "positive":
		return smtp.NewReply(250, "", "a yes is no error")
	case "leave":
		return smtp.NewReply(421, "", "go away")
	case "nil":
		var none *smtp.Reply
		return none
	}
	return nil
}

func (a *actor) Handle(ctx context.Context, p *Peer, env *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
	local, _ := smtp.SplitAddress(env.From)
	switch local {
	case "lazy":
		a.note("unread")
		return nil, nil
	case "refused":
		return nil, smtp.NewReply(550, "5.7.1", "not like this")
	case "returned":
		return smtp.NewReply(451, "4.7.1", "come back"), nil
	case "odd":
		return smtp.NewReply(354, "", "more"), nil
	case "panic":
		panic("hunter2")
	}
	b, err := io.ReadAll(body)
	if err != nil {
		a.note("got %d octets, then %v", len(b), err)
		if local == "careless" {
			return nil, nil
		}
		return nil, fmt.Errorf("spooling: %w", err)
	}
	var seen strings.Builder
	fmt.Fprintf(&seen, "tx %d", p.Tx)
	if p.TLS != nil {
		seen.WriteString(" tls")
	}
	if p.Username != "" {
		fmt.Fprintf(&seen, " as %s", p.Username)
	}
	fmt.Fprintf(&seen, " hello %s from <%s>", p.Hello, env.From)
	if env.Body != smtp.BodyUnknown || env.UTF8 || env.Size != 0 || env.Ret != 0 || env.EnvID != "" || env.Auth != "" {
		fmt.Fprintf(&seen, " (body %d, utf8 %t, size %d, ret %d, envid %q, auth %q)",
			env.Body, env.UTF8, env.Size, env.Ret, env.EnvID, env.Auth)
	}
	for _, r := range env.Recipients {
		fmt.Fprintf(&seen, " to <%s>", r.Address)
		if r.Notify != 0 || r.ORCPT != "" {
			fmt.Fprintf(&seen, " (notify %d, orcpt %q)", r.Notify, r.ORCPT)
		}
	}
	fmt.Fprintf(&seen, " %q", b)
	a.note("%s", seen.String())
	switch local {
	case "queued":
		return smtp.NewReply(250, "", "queued as 17"), nil
	case "broken":
		return nil, errors.New("the disk at /var/spool is full")
	}
	return nil, nil
}
