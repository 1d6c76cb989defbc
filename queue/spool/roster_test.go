package spool

import (
	"maps"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/queue/internal/crashfs"
)

// TestSpoolRosterNotMade has a step fail by which the roster is made: there is none then, nor a part of one, and the
// spool opens.
func TestSpoolRosterNotMade(t *testing.T) {
	quiet(t)
	for _, op := range []string{"create", "write", "sync", "rename"} {
		synctest.Test(t, func(t *testing.T) {
			disk := crashfs.New[File](nil)
			failed := 0
			disk.Before = func(is string, names ...string) error {
				if is == op && names[0] == rosterName+tempSuffix {
					failed++
					return syscall.ENOSPC
				}
				return nil
			}
			s := mustOpen(t, disk, runtimeOptions)
			synctest.Wait() // for the janitor
			files := disk.Files()
			if _, made := files[rosterName]; failed == 0 || made || files[rosterName+tempSuffix] != nil {
				t.Errorf("%s: got %d failures, and files %v", op, failed, slices.Sorted(maps.Keys(files)))
			}
			if n := disk.Opened(); n != len(s.log.all()) {
				t.Errorf("%s: got %d files open, want those of %d segments", op, n, len(s.log.all()))
			}
			mustEnqueue(t, s, "body", "d.example")
			mustClose(t, s)
			s = mustOpen(t, disk, runtimeOptions)
			checkNoDamage(t, s)
			if n := len(contents(t, s)); n != 1 {
				t.Errorf("%s: got %d messages, want 1", op, n)
			}
		})
	}
}

// TestRosterSlotFlipped flips each bit of a slot of the roster that isn't spare: it is refused.
func TestRosterSlotFlipped(t *testing.T) {
	r := roster{first: 2, last: 5, next: 7, serial: 3, salt: salt{1, 2, 3, 4, 5, 6, 7, 8}}
	if got, ok := decodeSlot(r.encode()); !ok || got != r {
		t.Fatalf("got %+v, %v, want %+v", got, ok, r)
	}
	for i := range slotLen * 8 {
		b := r.encode()
		b[i/8] ^= 1 << (i % 8)
		if _, ok := decodeSlot(b); ok {
			t.Errorf("bit %d of octet %d: got it believed", i%8, i/8)
		}
	}
	for _, r := range []roster{
		{first: 0, last: 5, next: 7}, {first: 6, last: 5, next: 7}, {first: 1, last: 1<<32 - 1, next: 7},
		{first: 1, last: 5, next: 0}, {first: 1, last: 5, next: maxID + 1},
	} {
		if _, ok := decodeSlot(r.encode()); ok {
			t.Errorf("%+v: got it believed", r)
		}
	}
	if _, ok := decodeSlot((&roster{first: 1, last: 1<<32 - 2, next: maxID}).encode()); !ok {
		t.Error("got the last numbers that there are refused")
	}
}
