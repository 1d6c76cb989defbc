package replies

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestProviders: the doc of Providers has its names.
func TestProviders(t *testing.T) {
	source, err := os.ReadFile("provider.go")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(source)) {
		if list, ok := strings.CutPrefix(line, "//\t"); ok {
			got = append(got, strings.Fields(strings.ReplaceAll(list, ",", " "))...)
		}
	}
	if want := Providers(); !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}
