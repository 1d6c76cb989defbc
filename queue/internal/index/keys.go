package index

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/postrider/postrider/queue"
)

// KeyName stands for a Key and the Tenant that it belongs to: the first half of their SHA-256.
type KeyName [16]byte

// Key is what a store keeps of the Key of a message.
type Key struct {
	Name     KeyName
	Envelope uint64 // stands for the reverse-path and the recipients: the beginning of their SHA-256
	ID       uint64 // of the message; 0 while that is being stored
	At       int64  // when it was stored, in Unix nanoseconds; in Keys.known, by the monotonic clock since Keys.base
	Segment  uint32 // the newest that has it on the disk; 0 in mem
	link     ref    // of the next in Keys.known; after Begin, of itself
}

// ErrReportKey is the error of a report with a Key.
var ErrReportKey = errors.New("the report has a Key: it must have none")

// NewKey makes the Key of a message. It has no ID yet. Without a Key, ok is false.
func NewKey(m *queue.Message) (k Key, ok bool, err error) {
	switch {
	case m.Key == "":
		return Key{}, false, nil
	case len(m.Key) > queue.MaxKey:
		return Key{}, false, fmt.Errorf("the Key has %d octets: it must have at most %d", len(m.Key), queue.MaxKey)
	}
	var buf [512]byte
	name := sha256.Sum256(append(appendPart(buf[:0], m.Tenant), m.Key...))
	copy(k.Name[:], name[:])
	if m.Envelope != nil {
		b := appendPart(buf[:0], m.Envelope.From)
		if to := m.Envelope.Recipients; len(to) == 1 {
			b = appendPart(b, to[0].Address)
		} else { // their order may be that of a map
			addresses := make([]string, len(to))
			for i, r := range to {
				addresses[i] = r.Address
			}
			slices.Sort(addresses)
			for _, a := range slices.Compact(addresses) {
				b = appendPart(b, a)
			}
		}
		envelope := sha256.Sum256(b)
		k.Envelope = binary.LittleEndian.Uint64(envelope[:])
	}
	return k, true, nil
}

// appendPart appends a string such that it can be told from what follows.
func appendPart(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Keys are the Keys that a store remembers. It has no lock: a store calls it with its own mutex held, except for Begin.
//
// A Key is remembered for Time by the monotonic clock, so that a step of the wall clock forgets none early, nor keeps
// one. One from before a restart has the age that the wall clock gives it then, at least 0.
//
// Between two calls, the following holds. A Key takes 48 octets, and about as many in byName.
//
//   - Each Key of known is in byName.
//   - A Key without an ID is between Begin and Done or Cancel. Every other one is once in the list from first to last,
//     the oldest first, and perSeg counts it.
type Keys struct {
	Time time.Duration // that a Key is remembered
	Max  int           // Keys; those that are found at a start may be more

	now         func() time.Time
	base        time.Time
	known       slab[Key]
	byName      map[KeyName]ref
	first, last ref
	perSeg      map[uint32]int
	waiting     map[ref]chan struct{} // for Done or Cancel, which close it
}

// NewKeys returns Keys that are empty. The times are checked by Check. now is that of New.
func NewKeys(keep time.Duration, most int, now func() time.Time) *Keys {
	if now == nil {
		now = time.Now
	}
	return &Keys{
		Time: cmp.Or(keep, 24*time.Hour), Max: cmp.Or(most, 1_000_000), now: now, base: now(),
		byName: map[KeyName]ref{}, perSeg: map[uint32]int{}, waiting: map[ref]chan struct{}{},
	}
}

// Check returns an error if a setting is wrong.
func (k *Keys) Check() error {
	switch {
	case k.Time < 0:
		return fmt.Errorf("KeyTime is %v: it must not be negative", k.Time)
	case k.Max < 0:
		return fmt.Errorf("MaxKeys is %d: it must not be negative", k.Max)
	}
	return nil
}

// Begin returns the ID of the message that has the Key, or 0: then the caller stores one, and ends that by Done or
// Cancel. While another caller stores one, Begin waits. lock is the store's mutex, which isn't held.
func (k *Keys) Begin(ctx context.Context, lock sync.Locker, key *Key) (first uint64, err error) {
	if err := k.Check(); err != nil {
		return 0, err
	}
	for {
		lock.Lock()
		first, other, err := k.begin(key)
		lock.Unlock()
		if other == nil {
			return first, err
		}
		select {
		case <-other:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// begin is Begin, without waiting for other.
func (k *Keys) begin(key *Key) (first uint64, other chan struct{}, err error) {
	k.Forget()
	if r := k.byName[key.Name]; r != 0 {
		switch found := k.known.At(r); {
		case found.ID == 0:
			if k.waiting[r] == nil {
				k.waiting[r] = make(chan struct{})
			}
			return 0, k.waiting[r], nil
		case found.Envelope != key.Envelope:
			return 0, nil, fmt.Errorf("%w: it is message %s. Give another message another Key",
				queue.ErrKeyReused, FormatID(found.ID))
		default:
			return found.ID, nil, nil
		}
	}
	if k.Len() >= k.Max {
		wait := ""
		if k.first != 0 {
			left := k.Time - k.age(k.known.At(k.first))
			wait = fmt.Sprintf(". The oldest is forgotten in %v", left.Round(time.Second))
		}
		return 0, nil, fmt.Errorf("%w: MaxKeys is %d%s", queue.ErrKeysFull, k.Max, wait)
	}
	key.ID = 0
	key.link = k.add(*key)
	return 0, nil, nil
}

// Done remembers the Key that was begun, whose message is durable now.
func (k *Keys) Done(key Key) {
	r := key.link
	key.At, key.link = k.since(), 0
	*k.known.At(r) = key
	k.count(key.Segment, 1)
	if k.last != 0 {
		k.known.At(k.last).link = r
	} else {
		k.first = r
	}
	k.last = r
	k.wake(r)
}

// Cancel ends what was begun: no message was stored.
func (k *Keys) Cancel(key Key) {
	k.drop(key.link)
	k.wake(key.link)
}

// wake wakes those who wait for a Key.
func (k *Keys) wake(r ref) {
	if c := k.waiting[r]; c != nil {
		close(c)
		delete(k.waiting, r)
	}
}

func (k *Keys) since() int64 { return int64(k.now().Sub(k.base)) }

func (k *Keys) age(key *Key) time.Duration { return time.Duration(k.since() - key.At) }

func (k *Keys) add(key Key) ref {
	r := k.known.add(key)
	k.byName[key.Name] = r
	return r
}

func (k *Keys) drop(r ref) {
	delete(k.byName, k.known.At(r).Name)
	k.known.free(r)
}

// Forget forgets the Keys whose time is over.
func (k *Keys) Forget() {
	for k.first != 0 {
		key := k.known.At(k.first)
		if k.age(key) < k.Time {
			return
		}
		k.count(key.Segment, -1)
		next := key.link
		k.drop(k.first)
		if k.first = next; next == 0 {
			k.last = 0
		}
	}
}

// count counts Keys of a segment.
func (k *Keys) count(segment uint32, by int) {
	if k.perSeg[segment] += by; k.perSeg[segment] == 0 {
		delete(k.perSeg, segment)
	}
}

// Len returns the number of Keys, those included whose messages are being stored.
func (k *Keys) Len() int { return len(k.byName) }

// InSegment returns the number of Keys that are in a segment.
func (k *Keys) InSegment(segment uint32) int { return k.perSeg[segment] }

// Restore remembers a Key of the disk. Of several with a name, the newest message has it. Sort must be called after the
// last Restore, before any other method.
func (k *Keys) Restore(key Key) {
	if r := k.byName[key.Name]; r != 0 {
		found := k.known.At(r)
		if key.ID >= found.ID {
			k.count(found.Segment, -1)
			k.count(key.Segment, 1)
			*found = key
		}
		return
	}
	k.count(key.Segment, 1)
	k.add(key)
}

// Sort puts the Keys in order, the oldest first, when all are restored.
func (k *Keys) Sort() {
	var refs []ref
	now, since := k.now(), k.since()
	for n, more := 0, true; more; n++ {
		more = k.known.each(n, func(r ref, key *Key) {
			age := min(max(0, now.Sub(FromNano(key.At))), k.Time)
			key.At = since - int64(age)
			refs = append(refs, r)
		})
	}
	slices.SortFunc(refs, func(a, b ref) int {
		x, y := k.known.At(a), k.known.At(b)
		return cmp.Or(cmp.Compare(x.At, y.At), cmp.Compare(x.ID, y.ID))
	})
	k.last = 0
	for _, r := range slices.Backward(refs) {
		k.known.At(r).link = k.first
		if k.first = r; k.last == 0 {
			k.last = r
		}
	}
	k.Forget()
}

// EachOf visits the Keys that are in a segment, of the n-th few hundred of all. more reports whether there are others.
func (k *Keys) EachOf(n int, segment uint32, visit func(Key)) (more bool) {
	now, since := ToNano(k.now()), k.since()
	return k.known.each(n, func(_ ref, found *Key) {
		if found.Segment == segment {
			key := *found
			key.At = now - (since - found.At)
			visit(key)
		}
	})
}

// Moved notes that the Key of a message is in another segment, unless it is forgotten.
func (k *Keys) Moved(key Key, segment uint32) {
	if r := k.byName[key.Name]; r != 0 && k.known.At(r).ID == key.ID {
		k.count(key.Segment, -1)
		k.count(segment, 1)
		k.known.At(r).Segment = segment
	}
}
