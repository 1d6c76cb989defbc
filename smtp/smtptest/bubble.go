package smtptest

import (
	"errors"
	"testing"
	"time"
)

// inBubble reports whether the caller runs in a synctest bubble. In a bubble, and nowhere else, [time.Now] has no
// monotonic reading. The date proves nothing: a test may let decades pass.
func inBubble() bool {
	now := time.Now()
	return now == now.Round(0) // Round(0) strips the monotonic reading
}

var (
	errMadeOutside = errors.New("this Network was made outside the synctest bubble that uses it: " +
		"call NewNetwork in the func that synctest.Test calls, with the t of that func")
	errUsedOutside = errors.New("this Network was made in a synctest bubble and is used by a goroutine outside: " +
		"start the goroutine in the func that synctest.Test calls, for example by Network.Go")
	errOuterTest = errors.New("NewNetwork was called in a synctest bubble with the t of the test around it: " +
		"pass it the t of the func that synctest.Test calls")
)

// isOuter reports whether the caller is in a synctest bubble and t is the test around it. The context and the cleanup
// of that t end outside the bubble. A t that has a deadline isn't the bubble's: there, T.Deadline must not be called,
// and panics.
func isOuter(t testing.TB) (outer bool) {
	d, ok := t.(interface{ Deadline() (time.Time, bool) })
	if !ok || !inBubble() {
		return false
	}
	defer func() { _ = recover() }()
	_, outer = d.Deadline()
	return outer
}

// misplaced returns an error if the Network was made in a synctest bubble and the caller is outside, or the reverse. It
// doesn't distinguish two bubbles. Without this check, the runtime ends the program with a fatal error about a channel,
// a timer or a WaitGroup, which names no cause.
func (n *Network) misplaced() error {
	switch here := inBubble(); {
	case here && !n.bubbled:
		return errMadeOutside
	case !here && n.bubbled:
		return errUsedOutside
	}
	return nil
}

// mustBeHere fails the test at once if the caller is misplaced. It is for methods that the test itself calls.
func (n *Network) mustBeHere() {
	n.t.Helper()
	if err := n.misplaced(); err != nil {
		n.t.Fatalf("smtptest: %v", err)
	}
}

// beHere does the same for methods that the code under test calls in any goroutine: it marks the test as failed, once,
// and returns the error.
func (n *Network) beHere() error {
	err := n.misplaced()
	if err == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed && !n.complained { // a test that has ended can't fail
		n.complained = true
		n.t.Errorf("smtptest: %v", err)
	}
	return err
}
