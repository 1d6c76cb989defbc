package smtp

import (
	"context"
	"errors"
	"sync"
	"testing"
)

// TestSlot: what the calls return, and which contexts end, in each order of the calls.
func TestSlot(t *testing.T) {
	type call struct {
		do   string // lend, end, keep or take
		loan int    // of end, and the one that lend makes
		want bool   // of keep and take
	}
	lend := func(loan int) call { return call{do: "lend", loan: loan} }
	end := func(loan int) call { return call{do: "end", loan: loan} }
	keep := func(want bool) call { return call{do: "keep", want: want} }
	take := func(want bool) call { return call{do: "take", want: want} }
	tests := []struct {
		name  string
		calls []call
		ended [2]bool // which of the loans' contexts ended because the slot was taken back
	}{
		{"not lent", []call{take(false), keep(true)}, [2]bool{}},
		{"lent", []call{lend(0), take(true), keep(false)}, [2]bool{true}},
		{"taken once", []call{lend(0), take(true), take(false), keep(false), keep(false)}, [2]bool{true}},
		{"kept", []call{lend(0), keep(true), take(false), keep(true)}, [2]bool{}},
		{"kept without a loan", []call{keep(true), lend(0), take(false)}, [2]bool{}},
		{"kept for good", []call{lend(0), keep(true), end(0), lend(1), take(false), keep(true)}, [2]bool{}},
		{"ended", []call{lend(0), end(0), take(false), keep(true)}, [2]bool{}},
		{"ended twice", []call{lend(0), end(0), end(0), take(false)}, [2]bool{}},
		{"lent again", []call{lend(0), end(0), lend(1), take(true), keep(false)}, [2]bool{false, true}},
		{"lent twice", []call{lend(0), lend(1), take(true)}, [2]bool{true, true}},
		{"lent twice, one ended", []call{lend(0), lend(1), end(0), take(true)}, [2]bool{false, true}},
		{"lent twice, kept by one", []call{lend(0), lend(1), keep(true), take(false), keep(true)}, [2]bool{}},
		{"lent after it was taken", []call{lend(0), take(true), end(0), lend(1), keep(false)}, [2]bool{true, true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := new(Slot)
			ctx := WithSlot(t.Context(), s)
			var lent [2]context.Context
			var ends [2]func()
			taken := false
			for i, c := range tt.calls {
				got := c.want
				switch c.do {
				case "lend":
					lent[c.loan], ends[c.loan] = Lend(ctx)
				case "end":
					ends[c.loan]()
				case "keep":
					got = Keep(ctx)
				case "take":
					got = s.TakeBack()
					taken = taken || got
				}
				if got != c.want {
					t.Errorf("call %d, %s: got %t, want %t", i, c.do, got, c.want)
				}
				if s.TakenBack() != taken {
					t.Errorf("call %d, %s: TakenBack is %t, want %t", i, c.do, !taken, taken)
				}
			}
			for i, lent := range lent {
				if lent != nil && (context.Cause(lent) == ErrTakenBack) != tt.ended[i] {
					t.Errorf("loan %d: got the cause %v, want it taken back: %t", i, context.Cause(lent), tt.ended[i])
				}
			}
			if ctx.Err() != nil {
				t.Error("the context of the attempt has ended")
			}
		})
	}
}

// TestNoSlot: without a slot nothing is lent and everything is kept.
func TestNoSlot(t *testing.T) {
	s := new(Slot)
	for name, ctx := range map[string]context.Context{
		"none": t.Context(), "nil": WithSlot(WithSlot(t.Context(), s), nil),
	} {
		lent, end := Lend(ctx)
		if lent != ctx || s.TakeBack() || !Keep(ctx) {
			t.Errorf("%s: got a slot", name)
		}
		end()
	}
}

// TestSlotParent: the end of the attempt's own context isn't mistaken for a slot that was taken back.
func TestSlotParent(t *testing.T) {
	s, why := new(Slot), errors.New("enough of it")
	ctx, cancel := context.WithCancelCause(t.Context())
	lent, end := Lend(WithSlot(ctx, s))
	defer end()
	cancel(why)
	if s.TakeBack(); context.Cause(lent) != why {
		t.Errorf("got the cause %v, want %v", context.Cause(lent), why)
	}
}

// TestSlotRace: of Keep and TakeBack at the same time one wins, and all see which.
func TestSlotRace(t *testing.T) {
	const calls = 4
	wins := map[bool]int{}
	for range 2000 {
		s := new(Slot)
		ctx, end := Lend(WithSlot(t.Context(), s))
		var kept, took [calls]bool
		var wg sync.WaitGroup
		for i := range calls {
			wg.Go(func() {
				if kept[i] = Keep(ctx); !kept[i] && context.Cause(ctx) != ErrTakenBack {
					t.Error("not kept, and the context goes on")
				}
			})
			wg.Go(func() {
				if took[i] = s.TakeBack(); took[i] && context.Cause(ctx) != ErrTakenBack {
					t.Error("taken back, and the context goes on")
				}
			})
		}
		wg.Wait()
		taken := s.TakenBack()
		times := 0
		for i := range calls {
			if took[i] {
				times++
			}
			if kept[i] == taken {
				t.Fatalf("got kept %v and taken back %v: want one of them", kept, took)
			}
		}
		if taken != (times == 1) || !taken && ctx.Err() != nil {
			t.Fatalf("got taken %t, and %d calls that took it back", taken, times)
		}
		wins[taken]++
		end()
	}
	t.Logf("taken back %d times, kept %d times", wins[true], wins[false])
}
