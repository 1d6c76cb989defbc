package spool

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
)

// TestKeysCrash crashes before every operation on the disk of a script of keys, in five ways. Whatever is left: each
// message that was acknowledged is known by its key, no key has two messages, and no key is of a message that isn't
// there, unless it has left.
func TestKeysCrash(t *testing.T) {
	quiet(t)
	type left struct {
		disk  *crashfs.FS[File]
		known map[string]queue.ID // acknowledged
		gone  map[string]bool     // whose messages may have left
		when  string
	}
	seeds := uint64(2)
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		var all []left
		var mu sync.Mutex
		known, gone := map[string]queue.ID{}, map[string]bool{}
		r := rand.New(rand.NewPCG(seed, 7))
		synctest.Test(t, func(t *testing.T) {
			disk := crashfs.New[File](nil)
			disk.Before = func(op string, names ...string) error {
				mu.Lock()
				defer mu.Unlock()
				for _, kind := range crashfs.Kinds {
					when := fmt.Sprint(kind, " before ", op, names)
					all = append(all, left{disk.After(kind, r), maps.Clone(known), maps.Clone(gone), when})
				}
				return nil
			}
			s := mustOpen(t, disk, crashConfig)
			for i := range 40 {
				key := fmt.Sprint("key", r.IntN(12))
				switch r.IntN(8) {
				case 0, 1, 2: // so that segments have nothing but keys, and are compacted
					for range 3 {
						id := mustEnqueue(t, s, strings.Repeat("x", 500), "more.example")
						if err := s.Remove(t.Context(), []queue.ID{id}); err != nil {
							t.Fatal(err)
						}
					}
				case 3:
					mu.Lock()
					id := known[key]
					gone[key] = true
					mu.Unlock()
					if err := s.Remove(t.Context(), []queue.ID{id}); err != nil && err != queue.ErrNotFound {
						t.Fatal(err)
					}
				default:
					var wg sync.WaitGroup
					for range 1 + r.IntN(3) {
						m := keyedMessage(key, 100+r.IntN(700))
						wg.Go(func() {
							id, _, err := s.EnqueueOnce(t.Context(), m)
							mu.Lock()
							defer mu.Unlock()
							if old := known[key]; err != nil || old != "" && old != id {
								t.Errorf("%s: got message %s and %v, was message %s", key, id, err, old)
							}
							known[key] = id
						})
					}
					wg.Wait()
				}
				synctest.Wait()
				if i%15 == 14 {
					mustClose(t, s)
					s = mustOpen(t, disk, crashConfig)
				}
			}
		})
		seen := map[string]bool{}
		for i, l := range all {
			if sum := fmt.Sprintf("%x %v", l.disk.Sum(), l.known); seen[sum] {
				continue
			} else {
				seen[sum] = true
			}
			synctest.Test(t, func(t *testing.T) {
				s := mustOpen(t, l.disk, crashConfig)
				checkNoDamage(t, s)
				there := map[string][]queue.ID{}
				for task, err := range s.List(t.Context(), queue.Filter{}) {
					if err != nil {
						t.Fatal(err)
					}
					key := strings.TrimSuffix(task.Destination, ".example")
					there[key] = append(there[key], task.ID)
				}
				for k := range 12 {
					key := fmt.Sprint("key", k)
					id, repeats := keyed(t, s, key)
					switch want := l.known[key]; {
					case len(there[key]) > 1:
						t.Errorf("%s has the messages %v", key, there[key])
					case want != "" && (id != want || !repeats):
						t.Errorf("%s: got message %s, repeats: %v, and message %s was acknowledged", key, id, repeats, want)
					case len(there[key]) == 1 && (id != there[key][0] || !repeats):
						t.Errorf("%s: got message %s, repeats: %v, and message %v is there", key, id, repeats, there[key])
					case repeats && len(there[key]) == 0 && !l.gone[key]:
						t.Errorf("%s: got message %s, which isn't there", key, id)
					}
				}
				mustClose(t, s)
			})
			if t.Failed() {
				t.Fatalf("seed %d, crash %d, %s", seed, i, l.when)
			}
		}
		t.Logf("seed %d: opened what %d crashes left", seed, len(seen))
	}
}
