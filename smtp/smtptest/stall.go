package smtptest

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"time"
)

// standstill is the real time after which a clock that stands still is reported.
const standstill = 5 * time.Second

// watch reports that the clock of a bubble stands still, because a goroutine waits for something real: for example,
// code without a DialContext dials a real network. The test then hangs. No goroutine in the bubble can notice that, so
// a real timer outside the bubble does, and prints the hints. Network.mu guards all fields.
type watch struct {
	patience time.Duration // if zero, standstill
	out      io.Writer     // if nil, os.Stderr
	lookup   bool          // watchDial has started a watch
	wait     bool          // watchWait has started a watch
	timer    *time.Timer   // real; if nil, none
}

// stop ends the watch.
func (w *watch) stop() {
	if w.timer != nil {
		w.timer.Stop() // a real timer can be stopped in a bubble
	}
}

// watchDial watches the clock, once per network, when a lookup has returned addresses of a host that was never dialled.
func (n *Network) watchDial(h *Host) {
	n.mu.Lock()
	skip := !n.bubbled || n.closed || n.watch.lookup || h.dials > 0
	n.watch.lookup = n.watch.lookup || !skip
	n.mu.Unlock()
	if !skip {
		n.watchClock()
	}
}

// watchWait watches the clock, once per network, when the test waits for a host and nothing was looked up.
func (n *Network) watchWait() {
	n.mu.Lock()
	skip := !n.bubbled || n.closed || n.watch.wait || n.uses.lookups > 0
	n.watch.wait = n.watch.wait || !skip
	n.mu.Unlock()
	if !skip {
		n.watchClock()
	}
}

// watchClock starts a watch. It ends as soon as the clock moves.
func (n *Network) watchClock() {
	moved := false // guarded by n.mu
	time.AfterFunc(1, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		moved = true
		n.watch.stop()
	})
	outsideBubble(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if moved || n.closed {
			return
		}
		patience := n.watch.patience
		if patience == 0 {
			patience = standstill
		}
		n.watch.timer = time.AfterFunc(patience, func() { n.stalled(patience) })
	})
}

// stalled prints the hints, if there are any, but not to n.t: go test discards the log of a test that times out.
func (n *Network) stalled(patience time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	hints := n.hints()
	if n.closed || len(hints) == 0 {
		return
	}
	var out io.Writer = os.Stderr
	if n.watch.out != nil {
		out = n.watch.out
	}
	text := fmt.Sprintf("smtptest: %s: the clock of the bubble has stood still for %v: is a real network in use?\n",
		n.t.Name(), patience)
	for _, hint := range hints {
		text += "smtptest: hint: " + hint + "\n"
	}
	io.WriteString(out, text)
}

// outsideBubble calls f soon, in a goroutine outside of all bubbles. The documentation of testing/synctest says that
// the runtime's cleanups run there.
//
//go:noinline
func outsideBubble(f func()) {
	garbage := &struct{ p *int }{new(int)} // an object without a pointer could share its memory with a live one
	runtime.AddCleanup(garbage, func(f func()) { f() }, f)
	runtime.GC()
}
