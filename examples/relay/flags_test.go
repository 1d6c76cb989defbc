package main

import (
	"reflect"
	"testing"
	"time"
)

// TestRetry checks that Runner keeps its schedule unless -retry is given.
func TestRetry(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want []time.Duration
	}{
		{"not given", nil, nil},
		{"given", []string{"-retry", "1m,2h"}, []time.Duration{time.Minute, 2 * time.Hour}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f, err := parseFlags(append(test.args, "-hostname", "relay.test"))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(f.retry, test.want) { // nil is not the same as empty
				t.Errorf("got %v, want %v", f.retry, test.want)
			}
		})
	}
}
