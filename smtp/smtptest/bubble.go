package smtptest

import (
	"errors"
	"testing"
	"time"
)

// inBubble reports whether the caller runs in a synctest bubble. There, and only there, [time.Now] has no monotonic
// reading. The date is no sign: a test may let decades pass.
func inBubble() bool {
	now := time.Now()
	return now == now.Round(0) // Round(0) strips the monotonic reading
}

var (
	errMadeOutside = errors.New("this Network was made outside the synctest bubble that uses it: " +
		"call NewNetwork inside the func that synctest.Test runs, with the t which that func gets")
	errUsedOutside = errors.New("this Network was made in a synctest bubble and is used by a goroutine outside of it: " +
		"start the goroutine inside the func that synctest.Test runs, for example by Network.Go")
	errOuterTest = errors.New("this Network was made in a synctest bubble with the t of the test around it: " +
		"pass NewNetwork the t that the func which synctest.Test runs gets")
)

// isOuter reports whether the caller is in a synctest bubble and t is the test around it. A test with a deadline can't be
// that of a bubble: there, T.Deadline panics. Its cleanup runs outside the bubble, and so does the end of its context.
func isOuter(t testing.TB) (outer bool) {
	d, ok := t.(interface{ Deadline() (time.Time, bool) })
	if !ok || !inBubble() {
		return false
	}
	defer func() { _ = recover() }()
	_, outer = d.Deadline()
	return outer
}

// misplaced returns an error if the caller isn't where the Network was made: in a synctest bubble, or outside of all.
// Channels, timers and wait groups of a bubble end the program with a fatal error that names no cause when they are
// used elsewhere. It can't tell one bubble from another.
func (n *Network) misplaced() error {
	switch here := inBubble(); {
	case here && !n.bubbled:
		return errMadeOutside
	case !here && n.bubbled:
		return errUsedOutside
	}
	return nil
}

// mustBeHere fails the test at once if the caller is misplaced. It is for methods that a test calls itself.
func (n *Network) mustBeHere() {
	n.t.Helper()
	if err := n.misplaced(); err != nil {
		n.t.Fatalf("smtptest: %v", err)
	}
}

// beHere is mustBeHere for methods that the code under test calls, in any goroutine: the test fails, once, and goes on
// with the error.
func (n *Network) beHere() error {
	err := n.misplaced()
	if err == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed && !n.complained { // after its end, a test can't fail
		n.complained = true
		n.t.Errorf("smtptest: %v", err)
	}
	return err
}
