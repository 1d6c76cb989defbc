package smtptest

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"
)

// standstill is how long the clock of a bubble may stand still, in real time, before the test's user hears of it.
const standstill = 5 * time.Second

// watch notices that the clock of a bubble stands still: some goroutine waits for something real, such as the dial of a
// real network by code that was given no DialContext. Such a test doesn't fail, it hangs. Nothing in the bubble can
// notice that, so a timer outside of it does, and prints the hints there are. Network.mu guards it.
type watch struct {
	patience time.Duration // if zero, standstill
	out      io.Writer     // if nil, os.Stderr
	lookup   bool          // watchDial was here
	wait     bool          // watchWait was here
	timer    *time.Timer   // real; if nil, none
}

// stop ends the watch.
func (w *watch) stop() {
	if w.timer != nil {
		w.timer.Stop() // a real timer may be stopped from inside a bubble
	}
}

// watchDial watches the clock from now on, once for a network: the address of h was given out, and never dialled.
func (n *Network) watchDial(h *Host) {
	n.mu.Lock()
	skip := !n.bubbled || n.closed || n.watch.lookup || h.dials > 0
	n.watch.lookup = n.watch.lookup || !skip
	n.mu.Unlock()
	if !skip {
		n.watchClock()
	}
}

// watchWait does so, too: the test waits for a host, and nothing was looked up or dialled.
func (n *Network) watchWait() {
	n.mu.Lock()
	skip := !n.bubbled || n.closed || n.watch.wait || n.uses.lookups > 0
	n.watch.wait = n.watch.wait || !skip
	n.mu.Unlock()
	if !skip {
		n.watchClock()
	}
}

// watchClock prints the hints if the clock of the bubble stands still from now on.
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

// stalled prints the hints, if there are any. It doesn't use n.t: what a test logs is lost when it times out.
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
	fmt.Fprintf(out, "smtptest: %s: the clock of the bubble has stood still for %v: does something wait for a real network?\n"+
		"smtptest: hint: %s\n", n.t.Name(), patience, strings.Join(hints, "\nsmtptest: hint: "))
}

// outsideBubble runs f in a goroutine outside the bubble of the caller, soon. The doc of testing/synctest says that the
// runtime's cleanups are the one thing that runs there.
//
//go:noinline
func outsideBubble(f func()) {
	garbage := &struct{ p *int }{new(int)} // with a pointer: the allocator keeps small things without one alive together
	runtime.AddCleanup(garbage, func(f func()) { f() }, f)
	runtime.GC()
}
