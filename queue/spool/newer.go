package spool

import (
	"errors"
	"fmt"

	"github.com/postrider/postrider/queue/internal/index"
)

// unknownError is something that a newer program wrote and that this program must not skip.
type unknownError struct {
	what   string // "field" or "kind"
	number uint8
}

func (e *unknownError) Error() string {
	return fmt.Sprintf("%s %#x is unknown and must not be skipped: open the spool with the newer program that wrote it",
		e.what, e.number)
}

// isUnknown reports whether err is an unknownError.
func isUnknown(err error) bool {
	_, ok := errors.AsType[*unknownError](err)
	return ok
}

// unknownKind returns nil for an unknown kind of entry that may be skipped.
func unknownKind(h entryHeader) error {
	switch {
	case h.kind == 0: // octets that were never written
		return errEntry
	case h.kind&critical != 0:
		return &unknownError{"kind", h.kind}
	}
	return nil
}

// refuse records an unknownError of a message for checkRefused. It returns any other error.
func (s *Spool) refuse(id uint64, err error) error {
	if isUnknown(err) {
		s.refused[id] = err
		return nil
	}
	return err
}

// checkRefused returns the unknownError of a message that is in the queue.
func (s *Spool) checkRefused() error {
	for id, err := range s.refused {
		if s.ix.Data(id) != nil {
			return fmt.Errorf("message %s: %w", index.FormatID(id), err)
		}
	}
	return nil
}

// checkTail returns an unknownError of records that are to be written once more. They are checked before anything is
// written, so even a message that a later record settles is refused.
func checkTail(payloads [][]byte) error {
	s := newIndexed(new(Options))
	for _, payload := range payloads {
		err := s.apply(&segment{}, record{payload: payload})
		if isUnknown(err) {
			return err
		}
	}
	for id, err := range s.refused {
		return fmt.Errorf("message %s: %w", index.FormatID(id), err)
	}
	return nil
}
