package smtptest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Messages returns the messages that the host has taken so far.
func (h *Host) Messages() []Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.messages)
}

// Connections returns the number of connections to the host's own server so far, including those that
// [Host.MaxSessions] refused.
func (h *Host) Connections() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.made
}

// Sessions returns the number of open sessions. A session begins with the dial and ends when either side closes the
// connection. A connection that [Host.MaxSessions] refuses is no session.
func (h *Host) Sessions() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.open
}

// MostSessions returns the largest number of sessions that were open at once so far.
func (h *Host) MostSessions() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.most
}

// Wait waits until the host has taken at least n messages since it was made, and returns all of them. After
// [Network.WaitLimit] it fails the test at once. Like t.Fatal it must be called from the test's own goroutine.
func (h *Host) Wait(n int) []Message {
	h.net.t.Helper()
	var got []Message
	h.await(func() string {
		if len(h.messages) < n {
			return fmt.Sprintf("got %d messages", len(h.messages))
		}
		got = slices.Clone(h.messages)
		return ""
	}, n)
	return got
}

// WaitConnections waits until [Host.Connections] is at least n. It fails as [Host.Wait] does.
func (h *Host) WaitConnections(n int) {
	h.net.t.Helper()
	h.await(func() string {
		if h.made >= n {
			return ""
		}
		return fmt.Sprintf("got %d connections", h.made)
	}, n)
}

// WaitSessions waits until at least n sessions are open or, if n is 0, until none is open. It fails as [Host.Wait]
// does.
func (h *Host) WaitSessions(n int) {
	h.net.t.Helper()
	h.await(func() string {
		if n == 0 && h.open == 0 || n > 0 && h.open >= n {
			return ""
		}
		return fmt.Sprintf("has %d sessions", h.open)
	}, n)
}

// await waits until missing returns "". After the wait limit it fails the test with the text that missing returns.
// missing is called with h.mu held.
func (h *Host) await(missing func() string, want int) {
	h.net.t.Helper()
	h.net.mustBeHere()
	h.net.watchWait()
	start := time.Now()
	ctx, cancel := context.WithTimeout(h.net.t.Context(), h.net.waitLimit())
	defer cancel()
	for {
		h.mu.Lock()
		what, changed := missing(), h.changed.wait()
		h.mu.Unlock()
		if what == "" {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			h.net.t.Fatalf("smtptest: %s %s in %v, want %d", h.name, what, time.Since(start), want)
			return
		}
	}
}

// take keeps a message, and runs the funcs of AfterMessages that are due.
func (h *Host) take(m Message) {
	h.mu.Lock()
	h.messages = append(h.messages, m)
	due := h.script.due(len(h.messages))
	h.mu.Unlock()
	for _, do := range due {
		do()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changed.broadcast()
}

// admit counts a connection to the host's own server and returns its session. net.mu is held: nothing else knows the
// connection yet.
func (h *Host) admit(client, server *conn) *session {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.made++
	s := &session{host: h, id: h.made, lmtp: h.lmtp, raw: server, conn: server}
	if limit := h.script.maxSessions; limit != nil && h.open >= limit.n {
		s.turn = limit.reply
	} else {
		h.open++
		h.most = max(h.most, h.open)
		client.over = sync.OnceFunc(h.leave)
		server.over = client.over
	}
	h.changed.broadcast()
	return s
}

// leave counts the end of a session.
func (h *Host) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open--
	h.changed.broadcast()
}
