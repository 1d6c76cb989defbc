package preflight_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/postrider/postrider/client/preflight"
	"github.com/postrider/postrider/smtp"
)

// What would Gmail and others refuse? Each Finding has the place and the remedy.
func ExampleChecker_Message() {
	checker := &preflight.Checker{Bulk: true}
	env := smtp.NewEnvelope("news@example.com", "ann@example.net")
	content := smtp.Text(`From: Tea, Inc. <news@example.com>
To: ann@example.net
Date: ` + time.Now().Format(time.RFC1123Z) + `
Subject: Tea of the month

Green tea.
`)
	for _, f := range checker.Message(env, content) {
		fmt.Println(f.Severity, f.Kind)
		fmt.Println("\t" + f.Where + ": " + f.Remedy)
	}
	// Output:
	// refusal bad-from
	// 	From: write it as Ann <ann@example.com>, with odd names in quotes
	// refusal no-message-id
	// 	Message-ID: add one, unique for each mail, with a domain of yours
	// refusal no-unsubscribe
	// 	List-Unsubscribe: add one with an https URI, and List-Unsubscribe-Post
}

// A test of a program that makes mail.
func ExampleTest() {
	var t *testing.T // of the test

	compose := func() (*smtp.Envelope, smtp.Content) { return nil, nil } // the code under test
	env, content := compose()
	preflight.Test(t, new(preflight.Checker).Message(env, content))
}
