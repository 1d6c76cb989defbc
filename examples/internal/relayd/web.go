package relayd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/queueweb"
)

// checkHTTP returns an error unless an address for -http belongs to this machine alone: the page has no TLS.
func checkHTTP(addr string) error {
	if at, err := netip.ParseAddrPort(addr); err != nil || !at.Addr().IsLoopback() {
		return fmt.Errorf("-http %s: want a loopback address and a port, such as 127.0.0.1:8025; for others, put a "+
			"server with TLS and passwords in front of it", addr)
	}
	return nil
}

// page makes the page of -http. Whoever has an account on this machine can use it, unless login is given.
func page(runner *delivery.Runner, log *slog.Logger, login func(user, password string) error) *queueweb.Handler {
	web := &queueweb.Handler{Runner: runner, Logger: log}
	if login != nil {
		web.Challenge = `Basic realm="queue"`
	}
	web.Authorize = func(r *http.Request) (user string, err error) {
		// A web site can have a name in its DNS that has our address. Only the browser knows that name.
		if host, _, _ := net.SplitHostPort(r.Host); host != "localhost" && checkHTTP(r.Host) != nil {
			return "", fmt.Errorf("the host is %q: open the page by its address", r.Host)
		}
		if login == nil {
			return "", nil
		}
		user, password, _ := r.BasicAuth()
		return user, login(user, password)
	}
	runner.Events = web.Events()
	return web
}

// servePage serves the page until ctx ends.
func servePage(ctx context.Context, addr string, web *queueweb.Handler, log *slog.Logger) (stop func(), err error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("-http: %w", err)
	}
	s := &http.Server{
		Handler: web, BaseContext: func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: 5 * time.Minute,
	}
	fmt.Printf("the queue is on http://%v/\n", l.Addr())
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the page has ended", "err", err)
		}
	}()
	return func() {
		last, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if s.Shutdown(last) != nil {
			s.Close()
		}
		<-served
		web.Close()
	}, nil
}
