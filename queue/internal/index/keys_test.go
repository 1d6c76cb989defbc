package index

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

func testKey(t *testing.T, key string) Key {
	t.Helper()
	k, ok, err := NewKey(&queue.Message{Key: key, Envelope: smtp.NewEnvelope("a@x.test", "b@y.test")})
	if err != nil || !ok {
		t.Fatalf("NewKey: got %v, %v", ok, err)
	}
	return k
}

// TestKeysRestore has the disk give keys in any order, also two messages of one key: the later message has it. The
// oldest is forgotten first.
func TestKeysRestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, order := range [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {2, 0, 3, 1}} {
			k := NewKeys(time.Hour, 3, nil)
			now := ToNano(time.Now())
			a, b := testKey(t, "a"), testKey(t, "b")
			all := []Key{a, a, b, b}
			for i := range all {
				all[i].ID, all[i].Segment, all[i].At = uint64(1+i), uint32(1+i), now-int64(time.Duration(i)*time.Minute)
			}
			all[0].At -= int64(2 * time.Hour)
			all[3].ID, all[3].At = all[2].ID, all[2].At // a copy, in another segment
			for _, i := range order {
				k.Restore(all[i])
			}
			k.Sort()
			segment := all[2].Segment
			if k.InSegment(segment) == 0 {
				segment = all[3].Segment
			}
			if k.Len() != 2 || k.InSegment(1) != 0 || k.InSegment(2) != 1 || k.InSegment(segment) != 1 {
				t.Fatalf("order %v: got %d keys, %v", order, k.Len(), k.perSeg)
			}
			k.Moved(all[0], 9) // of the message that hasn't the key any more
			k.Moved(all[1], 8)
			k.EachOf(0, 8, func(got Key) {
				if got.ID != 2 || got.At != all[1].At {
					t.Errorf("order %v: got message %d of %d, want 2 of %d", order, got.ID, got.At, all[1].At)
				}
			})
			if k.InSegment(9) != 0 || k.InSegment(8) != 1 {
				t.Errorf("order %v: got %v, want a key in segment 8", order, k.perSeg)
			}
			time.Sleep(58 * time.Minute) // b was stored 2 minutes ago, and a 1 minute
			if k.Forget(); k.Len() != 1 || k.byName[a.Name] == 0 {
				t.Errorf("order %v: got %d keys, want the younger one", order, k.Len())
			}
			time.Sleep(time.Minute)
			if k.Forget(); k.Len() != 0 || k.first != 0 || k.last != 0 || len(k.perSeg) != 0 {
				t.Errorf("order %v: got %d keys and %v, want none", order, k.Len(), k.perSeg)
			}
		}
	})
}

// TestKeysSettings refuses settings that contradict their docs, and says when there is room again.
func TestKeysSettings(t *testing.T) {
	var mu sync.Mutex
	key := testKey(t, "a")
	for _, k := range []*Keys{NewKeys(-1, 0, nil), NewKeys(0, -1, nil)} {
		if _, err := k.Begin(context.Background(), &mu, &key); err == nil || !strings.Contains(err.Error(), "-1") {
			t.Errorf("Time %v, Max %d: got %v, want an error", k.Time, k.Max, err)
		}
	}
	k := NewKeys(0, 1, nil)
	if _, err := k.Begin(t.Context(), &mu, &key); err != nil {
		t.Fatal(err)
	}
	other := testKey(t, "b")
	for _, want := range []string{"MaxKeys is 1", "forgotten in 24h"} {
		_, err := k.Begin(t.Context(), &mu, &other)
		if !errors.Is(err, queue.ErrKeysFull) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want ErrKeysFull with %q", err, want)
		}
		if k.Len() == 1 && k.first == 0 {
			key.ID = 1
			k.Done(key)
		}
	}
}

// TestNewKeyNoEnvelope has messages that a store refuses for another reason: NewKey doesn't panic.
func TestNewKeyNoEnvelope(t *testing.T) {
	for _, m := range []queue.Message{{Key: "k"}, {Key: "k", Envelope: new(smtp.Envelope)}} {
		if k, ok, err := NewKey(&m); err != nil || !ok || k.Name == (KeyName{}) {
			t.Errorf("%+v: got %v, %v, %v, want a key", m, k, ok, err)
		}
	}
}
