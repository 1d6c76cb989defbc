package spool

import (
	"context"
	"encoding/binary"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// The Key of a message has an entry of its own, in the record of the message, so that it survives the message. The
// index has all of it, so compaction writes the Keys of a segment anew, many to a record, and reads nothing. A Key
// whose time is over isn't written: it leaves the log with its segment.
//
// The entries are live data. Their length is always keyLength, so that the octets of all are known.

// These are the tags of a key.
const (
	keyID       = fieldID
	keyAt       = 2 // when the message arrived
	keyName     = 3 // the first 16 octets of the SHA-256 of the Tenant's length as a uvarint, the Tenant and the Key
	keyEnvelope = 4 // the first 8 octets of the SHA-256 of the reverse-path and the recipients
)

// keyLength is the length of an entry of a key: the numbers have all their octets.
const keyLength = entryHeaderLen + 3*(2+8) + 2 + len(index.KeyName{})

// appendKey appends the entry of a key.
func appendKey(b []byte, k *index.Key) []byte {
	start := len(b)
	b = appendEntry(b, entryKey)
	b = binary.LittleEndian.AppendUint64(append(b, keyID, 8), k.ID)
	b = binary.LittleEndian.AppendUint64(append(b, keyAt, 8), uint64(k.At))
	b = append(append(b, keyName, uint8(len(k.Name))), k.Name[:]...)
	b = binary.LittleEndian.AppendUint64(append(b, keyEnvelope, 8), k.Envelope)
	endEntry(b[start:], 0)
	return b
}

// decodeKey reads the fields of a key. With an unknownError, it returns the ID too.
func decodeKey(b []byte) (k index.Key, err error) {
	f := fields{rest: b}
	for f.next() {
		switch f.tag {
		case keyID:
			k.ID = f.upTo(maxID)
		case keyAt:
			k.At = f.int64()
		case keyName:
			f.failed = f.failed || len(f.value) != len(k.Name)
			copy(k.Name[:], f.value)
		case keyEnvelope:
			k.Envelope = f.uint64()
		default:
			f.skip()
		}
	}
	if k.ID == 0 || k.Name == (index.KeyName{}) {
		return index.Key{}, errEntry
	}
	return k, f.err()
}

// applyKey takes in a key, which compaction may have moved.
func (s *Spool) applyKey(fields []byte, at place) error {
	k, err := decodeKey(fields)
	if err != nil {
		return s.refuse(k.ID, err)
	}
	k.Segment = at.segment
	s.keys.Restore(k)
	return nil
}

// beginKey returns the message that has the key of m, or 0. If there is none, the key is the draft's, and endKey must
// be called.
func (s *Spool) beginKey(ctx context.Context, d *draft, m *queue.Message) (first uint64, err error) {
	key, keyed, err := index.NewKey(m)
	if err != nil || !keyed {
		return 0, err
	}
	if err := s.log.broken(); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	first, err = s.keys.Begin(ctx, &s.mu, &key)
	d.key, d.keyed = key, err == nil && first == 0
	return first, err
}

// endKey lets others at the key of the draft, unless its message is stored.
func (s *Spool) endKey(d *draft) {
	if d.keyed {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.keys.Cancel(d.key)
	}
}

// alive returns how many octets of the log are needed. s.mu is held.
func (s *Spool) alive() int64 {
	s.keys.Forget()
	return s.live + int64(s.keys.Len())*int64(keyLength)
}

// moveKeys writes the keys that are in the segment to the log's end.
func (s *Spool) moveKeys(seg *segment) error {
	const chunks, batch = 16, 256 << 10 // bounds of the time with the lock, and of a record
	for n, more := 0, true; more; {
		a := appending{record: make([]byte, recordHeaderLen), durable: true, done: make(chan error, 1)}
		var keys []index.Key
		s.mu.Lock()
		if s.keys.Forget(); s.keys.InSegment(seg.number) == 0 {
			s.mu.Unlock()
			return nil
		}
		for end := n + chunks; more && n < end && len(a.record) < batch; n++ {
			more = s.keys.EachOf(n, seg.number, func(k index.Key) {
				a.record = appendKey(a.record, &k)
				keys = append(keys, k)
			})
		}
		if len(keys) > 0 { // under the lock, so that the key of a later message comes behind it in the log
			s.log.hand(&a)
			s.turn.moved += int64(len(a.record))
		}
		s.mu.Unlock()
		if len(keys) == 0 {
			continue
		}
		if err := a.wait(); err != nil {
			return err
		}
		s.mu.Lock()
		for _, k := range keys {
			s.keys.Moved(k, a.segment.number)
		}
		s.log.applied(&a)
		s.mu.Unlock()
	}
	return nil
}
