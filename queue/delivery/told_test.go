package delivery

import (
	"fmt"
	"strings"
	"testing"
)

// TestToldSize has names whose octets are six each in JSON: the record stays far below what a Sharer takes.
func TestToldSize(t *testing.T) {
	var all []toldRate
	for i := range maxTold {
		name := fmt.Sprintf("%s%04d", strings.Repeat("<", 250), i)
		all = append(all, toldRate{LearnedRate: LearnedRate{Site: "mx.test", Of: "recipient", Name: name}})
	}
	data, err := writeTold(all)
	if err != nil || len(data) > maxToldSize || len(data) < maxToldSize*9/10 {
		t.Errorf("got %d octets, %v; want at most %d", len(data), err, maxToldSize)
	}
}
