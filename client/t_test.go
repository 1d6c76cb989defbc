package client_test

import "testing"

// t stands for the *testing.T of a test in the examples, which have none.
var t = new(testing.T)
