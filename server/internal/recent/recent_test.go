package recent

import "testing"

// TestMap: what is put last is found, whatever the bound, and there is never more than that.
func TestMap(t *testing.T) {
	always := func(int) bool { return true }
	for _, bound := range []int{1, 2, 3, 10, 100} {
		var m Map[int, int]
		for k := range 1000 {
			m.Put(k, k, bound, always)
			for last := k; last >= max(0, k-max(1, bound/2)+1); last-- {
				if v, ok := m.Get(last); !ok || v != last {
					t.Fatalf("bound %d: got %d, %t for %d after %d", bound, v, ok, last, k)
				}
			}
			if m.Len() > bound {
				t.Fatalf("bound %d: got %d entries", bound, m.Len())
			}
		}
	}
}

// TestMapForgets: entries that aren't valid go first, a second Put replaces, and Delete and Clone do as they say.
func TestMapForgets(t *testing.T) {
	var m Map[int, int]
	even := func(v int) bool { return v%2 == 0 }
	m.Put(-1, 0, 20, even)
	for k := range 100 {
		m.Put(k, 1, 20, even)
	}
	if _, ok := m.Get(-1); !ok {
		t.Error("the valid entry is forgotten, though the others weren't valid")
	}
	m.Put(-1, 2, 20, even)
	copied := m.Clone()
	m.Delete(-1)
	if _, ok := m.Get(-1); ok {
		t.Error("the deleted entry is there")
	}
	seen := 0
	copied.Each(func(k, v int) {
		if k == -1 {
			seen += v
		}
	})
	if seen != 2 {
		t.Errorf("got values of sum %d for the entry in the copy, want 2 once", seen)
	}
}
