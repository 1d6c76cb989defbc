package index

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
)

// TestApart claims tasks with deaths: few with one death at a time, one with more deaths alone, and the others
// whenever they are due.
func TestApart(t *testing.T) {
	tests := []struct {
		name   string
		deaths []int
		want   [][]int // deaths of the tasks of each Claim, if all are settled before the next
	}{
		{"none", []int{0, 0, 0}, [][]int{{0, 0, 0}}},
		{"one death", slices.Repeat([]int{1}, 10), [][]int{slices.Repeat([]int{1}, fewSuspects), {1, 1}}},
		{"more deaths", []int{2, 3, 2}, [][]int{{2}, {2}, {3}}},
		{"mixed", []int{1, 0, 2, 1, 0, 2}, [][]int{{1, 0, 1, 0}, {2}, {2}}},
		{"more first", []int{2, 1, 0}, [][]int{{2, 0}, {1}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ix := New[int, int](nil)
				var wants []queue.Want
				for i, deaths := range tt.deaths {
					dest := fmt.Sprint(i % 2)
					ix.Add(waitingFor(uint64(i+1), 0, dest), 0)
					r := ix.Task(uint64(i+1), 0)
					ix.Take(r)
					ix.SetDeaths(r, deaths)
					ix.Put(r)
				}
				for i := range tt.deaths {
					wants = append(wants, queue.Want{Lane: queue.Lane{Destination: fmt.Sprint(i % 2)}, Max: 1})
				}
				wants = append(wants, wants...)
				for i, want := range tt.want {
					tasks, _ := ix.Claim(wants, time.Hour)
					checkIndex(t, ix)
					var got []int
					for _, c := range tasks {
						got = append(got, c.Deaths)
					}
					slices.Sort(got)
					want = slices.Sorted(slices.Values(want))
					if !slices.Equal(got, want) {
						t.Fatalf("Claim %d: got tasks with %v deaths, want %v", i+1, got, want)
					}
					if more, _ := ix.Claim(wants, time.Hour); len(more) > 0 {
						t.Fatalf("Claim %d: got %d more tasks with %d deaths", i+1, len(more), more[0].Deaths)
					}
					ix.Recalled()
					for _, c := range tasks {
						ix.Begin(c.Lease)
						ix.Done(c.Lease)
					}
					checkIndex(t, ix)
					if recalled := ix.Recalled(); i+1 < len(tt.want) && len(recalled) == 0 {
						t.Errorf("after Claim %d: nothing is announced", i+1)
					}
				}
			})
		})
	}
}

// TestApartExpires has a suspect whose lease expires: the one that waited for it comes next.
func TestApartExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ix := New[int, int](nil)
		for id := range uint64(2) {
			ix.Add(waitingFor(id+1, 0, fmt.Sprint(id)), 0)
			r := ix.Task(id+1, 0)
			ix.Take(r)
			ix.SetDeaths(r, 2)
			ix.Put(r)
		}
		wants := []queue.Want{{Lane: queue.Lane{Destination: "0"}, Max: 1}, {Lane: queue.Lane{Destination: "1"}, Max: 1}}
		first, _ := ix.Claim(wants, time.Minute)
		if len(first) != 1 || first[0].ID != 1 {
			t.Fatalf("got %+v, want task 1 alone", first)
		}
		time.Sleep(time.Minute)
		second, _ := ix.Claim(wants[1:], time.Minute)
		if len(second) != 1 || second[0].ID != 2 {
			t.Fatalf("got %+v, want task 2 alone", second)
		}
		if recalled := ix.Recalled(); len(recalled) != 1 || recalled[0].lane.Destination != "1" {
			t.Errorf("got %+v announced, want 1", recalled)
		}
		if again := ix.Recalled(); len(again) != 0 {
			t.Errorf("got %+v announced again, want nothing", again)
		}
		checkIndex(t, ix)
		ix.Remove(2)
		checkIndex(t, ix)
		if third, _ := ix.Claim(wants, time.Minute); len(third) != 1 || third[0].ID != 1 || third[0].Attempts != 2 {
			t.Errorf("got %+v, want task 1 again", third)
		}
	})
}
