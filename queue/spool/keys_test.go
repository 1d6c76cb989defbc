package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
	"github.com/postrider/postrider/queue/internal/index"
)

func keyedMessage(key string, size int) queue.Message {
	m := testMessage(strings.Repeat("k", size), key+".example")
	m.Key = key
	return m
}

// keyed enqueues a message with a key, and says whether it repeats another.
func keyed(t *testing.T, s *Spool, key string) (id queue.ID, repeats bool) {
	t.Helper()
	id, repeats, err := s.EnqueueOnce(context.Background(), keyedMessage(key, 300))
	if err != nil {
		t.Fatalf("EnqueueOnce: %v", err)
	}
	return id, repeats
}

// TestKeyRoundTrip has a key come out as it went in, in so many octets, and refuses what is none.
func TestKeyRoundTrip(t *testing.T) {
	want := index.Key{Name: index.KeyName{1, 15: 9}, Envelope: 1 << 63, ID: 7, At: -5}
	b := appendKey([]byte("before"), &want)[len("before"):]
	h, fields, err := entryFields(b)
	if got, decodeErr := decodeKey(fields); h.kind != entryKey || len(b) != keyLength || err != nil || decodeErr != nil || got != want {
		t.Errorf("got %+v in %d octets, %v, %v; want %+v in %d", got, len(b), err, decodeErr, want, keyLength)
	}
	if err := unknownKind(h); err != nil {
		t.Errorf("got %v, want that an older program skips the kind", err)
	}
	for name, octets := range map[string]string{
		"a short name":        "\x01\x01\x07\x03\x02ab",
		"no name":             "\x01\x01\x07",
		"no ID":               "\x03\x10abcdefghijklmnop",
		"a time of 9 octets":  "\x01\x01\x07\x02\x09123456789\x03\x10abcdefghijklmnop",
		"a field without end": "\x01\x01\x07\x03\x10abcdefghijklmnop\x04\x08x",
	} {
		if k, err := decodeKey([]byte(octets)); !errors.Is(err, errEntry) {
			t.Errorf("%s: got %+v and %v, want errEntry", name, k, err)
		}
	}
}

// TestKeyOptions refuses settings that contradict their docs.
func TestKeyOptions(t *testing.T) {
	for _, o := range []Options{{KeyTime: -1}, {MaxKeys: -1}} {
		if s, err := o.Open(t.TempDir()); err == nil {
			s.Close()
			t.Errorf("%+v: got no error", o)
		}
	}
}

// TestKeyDurable has a second Enqueue of a key wait until the message of the first is on the disk.
func TestKeyDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New[File](nil)
		s := mustOpen(t, disk, testConfig)
		syncing, synced := make(chan struct{}), make(chan struct{})
		var once sync.Once
		disk.Before = func(op string, names ...string) error {
			if strings.HasPrefix(op, "sync") {
				once.Do(func() {
					close(syncing)
					<-synced
				})
			}
			return nil
		}
		type result struct {
			id      queue.ID
			repeats bool
		}
		results := make(chan result, 10)
		enqueue := func() {
			id, repeats := keyed(t, s, "one")
			results <- result{id, repeats}
		}
		go enqueue()
		<-syncing
		for range 9 {
			go enqueue()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Enqueue(ctx, keyedMessage("one", 300)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a ctx that ends while another stores the key: got %v", err)
		}
		if n := len(results); n > 0 {
			t.Errorf("%d calls have returned before the message is on the disk", n)
		}
		close(synced)
		first := 0
		for range 10 {
			if r := <-results; r.id != "1" {
				t.Errorf("got ID %s, want 1", r.id)
			} else if !r.repeats {
				first++
			}
		}
		if got := contents(t, s); first != 1 || len(got) != 1 {
			t.Errorf("got %d messages stored by %d calls, want one", len(got), first)
		}
	})
}

// TestKeyTakenOver has the first Enqueue of a key fail, by its body, by a panic of it, or by a full disk: another one
// that waits stores its message.
func TestKeyTakenOver(t *testing.T) {
	for name, fail := range map[string]func(disk *crashfs.FS[File]) io.Reader{
		"body":  func(*crashfs.FS[File]) io.Reader { return iotest.ErrReader(io.ErrUnexpectedEOF) },
		"panic": func(*crashfs.FS[File]) io.Reader { return panicReader{} },
		"disk": func(disk *crashfs.FS[File]) io.Reader {
			var once sync.Once
			disk.Before = func(op string, names ...string) (err error) {
				if op == "write" {
					once.Do(func() { err = syscall.ENOSPC })
				}
				return err
			}
			return strings.NewReader("x")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := crashfs.New[File](nil)
				s := mustOpen(t, disk, testConfig)
				begun, waiting := make(chan struct{}), make(chan struct{})
				m := keyedMessage("one", 0)
				m.Body = io.MultiReader(readerFunc(func([]byte) (int, error) {
					close(begun)
					<-waiting
					return 0, io.EOF
				}), fail(disk))
				var wg sync.WaitGroup
				wg.Go(func() {
					defer func() { recover() }()
					if id, err := s.Enqueue(t.Context(), m); err == nil {
						t.Errorf("the first: got ID %s and no error", id)
					}
				})
				<-begun
				var first, other int
				var mu sync.Mutex
				for range 5 {
					wg.Go(func() {
						_, repeats := keyed(t, s, "one")
						mu.Lock()
						defer mu.Unlock()
						if other++; !repeats {
							first++
						}
					})
				}
				synctest.Wait()
				if other != 0 {
					t.Errorf("%d calls didn't wait for the first", other)
				}
				close(waiting)
				wg.Wait()
				if got := contents(t, s); first != 1 || other != 5 || len(got) != 1 {
					t.Errorf("got %d messages stored by %d of %d calls, want one", len(got), first, other)
				}
			})
		})
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// TestKeysMoved keeps many keys whose messages have left, while a lot of other mail comes and goes: the log stays small,
// and the keys last to the end of their time and no longer, over starts and steps of the clock.
func TestKeysMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 200
		o := Options{SegmentSize: 4 << 10, InlineSize: 1500, Reserve: -1, SyncDelay: time.Second}
		disk := crashfs.New[File](nil)
		s := mustOpen(t, disk, o)
		ids := map[string]queue.ID{}
		for i := range n {
			key := fmt.Sprint("key", i)
			id, _ := keyed(t, s, key)
			ids[key] = id
			if err := s.Remove(t.Context(), []queue.ID{id}); err != nil {
				t.Fatal(err)
			}
		}
		churn := func() {
			for range 60 {
				id := mustEnqueue(t, s, strings.Repeat("x", 1400), "more.example")
				if err := s.Remove(t.Context(), []queue.ID{id}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // for the janitor
			}
		}
		for round := range 4 {
			churn()
			s.mu.Lock()
			live := s.alive()
			s.mu.Unlock()
			if want := int64(n * keyLength); live != want {
				t.Errorf("round %d: got %d octets that live, want %d", round, live, want)
			}
			if octets, segments := onDisk(disk); octets > 2*live+2*o.SegmentSize {
				t.Errorf("round %d: got %d octets in %d segments for %d that live", round, octets, segments, live)
			}
			for key, want := range ids {
				if id, repeats := keyed(t, s, key); id != want || !repeats {
					t.Fatalf("round %d: %s: got message %s, repeats: %v, want message %s", round, key, id, repeats, want)
				}
			}
			checkNoDamage(t, s)
			mustClose(t, s)
			s = mustOpen(t, disk, o)
			time.Sleep(5 * time.Hour)
		}
		time.Sleep(5 * time.Hour) // 25 in all
		churn()
		if octets, segments := onDisk(disk); octets > 3*o.SegmentSize {
			t.Errorf("when the time of all keys is over: got %d octets in %d segments", octets, segments)
		}
		for _, b := range disk.Files() {
			if i := bytes.Index(b, []byte{entryKey, 0, 0, 0, uint8(keyLength - entryHeaderLen), 0, 0, 0}); i >= 0 {
				t.Fatal("a key whose time is over is still on the disk")
			}
		}
		if id, repeats := keyed(t, s, "key0"); id == ids["key0"] || repeats {
			t.Errorf("a key whose time is over: got message %s, repeats: %v", id, repeats)
		}
	})
}

// TestKeysAfterStep opens a spool whose keys are of the future, since the clock was ahead: they last for their time from
// then on. Keys are moved with the time that the clock should have had.
func TestKeysAfterStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ahead time.Duration
		o := testConfig
		o.Now = func() time.Time { return time.Now().Add(ahead) }
		disk := crashfs.New[File](nil)
		ahead = 1000 * time.Hour
		s := mustOpen(t, disk, o)
		first, _ := keyed(t, s, "one")
		mustClose(t, s)
		ahead = 0
		s = mustOpen(t, disk, o)
		time.Sleep(23 * time.Hour)
		if id, repeats := keyed(t, s, "one"); id != first || !repeats {
			t.Errorf("23 hours after the start: got message %s, repeats: %v, want message %s", id, repeats, first)
		}
		time.Sleep(time.Hour)
		if id, repeats := keyed(t, s, "one"); id == first || repeats {
			t.Errorf("24 hours after the start: got message %s, repeats: %v, want another", id, repeats)
		}
	})
}

// TestKeyOctets prints what a key takes, in memory and on the disk.
func TestKeyOctets(t *testing.T) {
	const n = 200_000
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	keys := index.NewKeys(0, 0, nil)
	before := heap()
	m := testMessage("", "a.example")
	for i := range n {
		m.Key = fmt.Sprint("order ", i)
		key, _, err := index.NewKey(&m)
		if _, beginErr := keys.Begin(t.Context(), new(sync.Mutex), &key); err != nil || beginErr != nil {
			t.Fatal(err, beginErr)
		}
		key.ID = uint64(i)
		keys.Done(key)
	}
	each := float64(heap()-before) / n
	runtime.KeepAlive(keys)
	t.Logf("a key takes %.0f octets of memory, and %d of the disk", each, keyLength)
	if each > 90 || keyLength > 70 {
		t.Errorf("got %.0f octets of memory and %d of the disk, want at most 90 and 70", each, keyLength)
	}
}
