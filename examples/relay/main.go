// Relay is a mail relay in one file: the page to copy from. It accepts mail, keeps it on disk, delivers
// it, tries again, and returns what can't be delivered. Its flags: go run ./examples/relay -help
package main

import (
	"bytes"
	"context"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/server"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "relay:", err)
		os.Exit(1)
	}
}

func run() error {
	hostname, _ := os.Hostname()
	r := &postrider.Relay{
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Routes:    make(map[string]mx.Route),
		Server:    new(server.Server),
		Router:    new(mx.Router),
		Transport: new(client.Transport),
		Runner:    new(delivery.Runner),
	}
	listen := flag.String("listen", "127.0.0.1:2525", "accept mail on this `address`")
	submission := flag.String("submission", "", "accept mail from -user on this `address`")
	dir := flag.String("spool", "./spool", "keep the queue in this `directory`")
	allow := flag.String("allow", "127.0.0.0/8,::1/128", "`networks` that may relay")
	retry := flag.String("retry", "5m,15m,30m,1h,2h", "`waits` between attempts, the last repeats")
	list := flag.Bool("list", false, "print the queue of a spool that isn't in use, and leave")
	cert := flag.String("cert", "", "certificate `file` for STARTTLS")
	key := flag.String("key", "", "key `file` for STARTTLS")
	user := flag.String("user", "", "`name` that may submit mail; needs -submission, -cert and -password-file")
	passwordFile := flag.String("password-file", "", "`file` with the password of -user")
	flag.StringVar(&r.Hostname, "hostname", hostname, "our `name` in the DNS")
	flag.IntVar(&r.Router.Port, "port", 25, "port of MX hosts")
	flag.BoolVar(&r.Router.AllowPrivate, "allow-private", false, "MX hosts may have private addresses")
	flag.DurationVar(&r.MaxAge, "max-age", 120*time.Hour, "how long a mail is tried")
	flag.DurationVar(&r.DelayNotice, "delay-notice", 4*time.Hour, "age at which the sender of a waiting mail is told; negative: never")
	flag.Int64Var(&r.Server.MaxSize, "max-size", 50<<20, "largest mail in `bytes`")
	route := func(domain, to string) (err error) {
		if _, twice := r.Routes[domain]; twice || domain == "" || to == "" {
			return errors.New("want domain=route, and one for each domain")
		}
		r.Routes[domain], err = mx.ParseRoute(to)
		return err
	}
	flag.Func("smarthost", "`host:port` that takes all other mail, or several, tried in order: a:25,b:25", func(s string) error { return route("*", s) })
	flag.Func("route", "`domain=host:port` (or several), domain=lmtp:host:port, domain=lmtp:/socket, domain=discard or 'domain=error:550 5.1.6 moved'; repeatable", func(s string) error {
		domain, to, _ := strings.Cut(s, "=")
		return route(domain, to)
	})
	flag.Func("source", "send from this `address`, or IPv4,IPv6; repeatable: each mail goes out from one of them", func(s string) error {
		var source client.Source
		for addr := range strings.SplitSeq(s, ",") {
			ip, err := netip.ParseAddr(addr)
			if err != nil {
				return err
			}
			source.Addrs = append(source.Addrs, ip)
		}
		r.Transport.Sources = append(r.Transport.Sources, source)
		return source.Check()
	})
	flag.Func("accept", "take mail for this `domain` from anyone; repeatable", func(s string) error { r.Domains = append(r.Domains, s); return nil })
	flag.Func("dns", "name server at `host:port` in place of the system's", func(s string) (err error) { r.Resolver, err = mx.NameServer(s); return err })
	help := flag.Bool("help", false, "show these flags and leave")
	flag.Usage = func() {} // a wrong flag gives one line
	flag.Parse()
	if *help {
		flag.PrintDefaults()
		return nil
	}
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	for s := range strings.SplitSeq(*retry, ",") {
		wait, err := time.ParseDuration(s)
		if err != nil || wait <= 0 {
			return fmt.Errorf("-retry: %q is no wait", s)
		}
		r.Runner.Retry = append(r.Runner.Retry, wait)
	}
	var nets []netip.Prefix
	for s := range strings.FieldsFuncSeq(*allow, func(c rune) bool { return c == ',' }) {
		prefix, err := netip.ParsePrefix(s)
		if err != nil {
			return fmt.Errorf("-allow: %w", err)
		}
		nets = append(nets, prefix)
	}
	r.Allow = postrider.AllowNetworks(nets...)

	q, err := (&spool.Options{Logger: r.Logger}).Open(*dir)
	if err != nil {
		return err
	}
	defer q.Close()
	if *list {
		return printQueue(q)
	}
	r.Queue = q
	if *cert != "" || *key != "" {
		pair, err := tls.LoadX509KeyPair(*cert, *key)
		if err != nil {
			return err
		}
		r.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}}
	}
	if *user != "" {
		if r.TLSConfig == nil || *passwordFile == "" || *submission == "" {
			return errors.New("-user needs -submission, -cert, -key and -password-file")
		}
		password, err := os.ReadFile(*passwordFile)
		if err != nil {
			return err
		}
		r.Authenticate = func(_ context.Context, _ *server.Peer, name, got string) error {
			if name != *user || subtle.ConstantTimeCompare([]byte(got), bytes.TrimSpace(password)) != 1 {
				return server.ErrAuthFailed
			}
			return nil
		}
	}
	if err := r.Check(context.Background()); err != nil { // what is wrong with the flags, before anybody connects
		return err
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	fmt.Println("listening on", l.Addr())
	listeners := []net.Listener{l}
	if *submission != "" {
		users, err := net.Listen("tcp", *submission)
		if err != nil {
			l.Close()
			return err
		}
		fmt.Println("submission on", users.Addr())
		listeners = append(listeners, postrider.SubmissionListener(users))
	}
	return r.Serve(ctx, listeners...)
}
