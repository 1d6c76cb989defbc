package spool

import (
	"errors"
	"fmt"

	"github.com/postrider/postrider/queue"
)

// refuse returns an error if nothing may be written. l.mu is held.
func (l *spoolLog) refuse() error {
	if l.closing {
		return queue.ErrClosed
	}
	return l.err
}

// stop makes broken return the error that refuse returns now. l.mu is held.
func (l *spoolLog) stop() {
	err := l.refuse()
	l.stopped.Store(&err)
}

var errNotOpen = errors.New("spool: the Spool isn't open: make it by Open")

// broken returns an error if nothing can be written any more, or if there is no log.
func (l *spoolLog) broken() error {
	if l == nil {
		return errNotOpen
	}
	if err := l.stopped.Load(); err != nil {
		return *err
	}
	return nil
}

// fail poisons the log: what the disk has is unknown from here on. l.mu is held.
func (l *spoolLog) fail(cause error) error {
	if l.err == nil {
		l.err = fmt.Errorf("%w: %s: %w", queue.ErrBroken, l.dir, cause)
		l.stop()
		l.onFail()
	}
	for _, a := range l.unsynced {
		a.done <- l.err
	}
	l.unsynced = nil
	l.disarm()
	return l.err
}

// doubt poisons the log if err says that something written may be lost, and returns err.
func (l *spoolLog) doubt(err error) error {
	if _, ok := errors.AsType[*syncError](err); !ok {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fail(err)
}
