package replies

import "testing"

func TestDefaultTable(t *testing.T) {
	table, err := defaultTable()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d rules, %d patterns, %d words", len(table.rules), len(table.patterns), table.words)
}
