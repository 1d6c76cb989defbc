package index

import (
	"maps"
	"math/rand/v2"
	"testing"
)

// TestIDTable adds and removes at random, ids in a row and others, and compares with a map.
func TestIDTable(t *testing.T) {
	ids := []uint64{0} // by their refs
	table := idTable[uint64]{idOf: func(r ref) uint64 { return ids[r] }, hash: hashID}
	want := map[uint64]ref{}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 200_000 {
		id := uint64(i)
		if i%3 == 0 {
			id = r.Uint64()
		}
		if i%20_000 < 12_000 {
			ids = append(ids, id)
			want[id] = ref(len(ids) - 1)
			table.add(id, want[id])
		} else {
			for id := range want {
				table.remove(id)
				delete(want, id)
				if got := table.get(id); got != 0 {
					t.Fatalf("got %d for an id that was removed", got)
				}
				break
			}
		}
		if i%10_000 == 0 {
			got := map[uint64]ref{}
			for id := range want {
				got[id] = table.get(id)
			}
			if !maps.Equal(got, want) || table.count != len(want) {
				t.Fatalf("step %d: the table differs from the map, or counts %d instead of %d", i, table.count, len(want))
			}
		}
	}
	for id := range want {
		table.remove(id)
	}
	for _, p := range table.parts {
		if p.refs != nil {
			t.Fatal("an empty table keeps memory")
		}
	}
}
