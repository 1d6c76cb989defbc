package mtasts_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/postrider/postrider/mx/mtasts"
)

// A Client whose policies survive a restart is checked, and asked about a domain.
func Example() {
	sts := &mtasts.Client{Store: &mtasts.Dir{Path: "/var/lib/app/mta-sts"}}
	if err := sts.Check(); err != nil {
		fmt.Println(err)
		return
	}
	policy, err := sts.Lookup(context.Background(), "example.com")
	if failed, ok := errors.AsType[*mtasts.Error](err); ok {
		fmt.Println("to report to the domain:", failed.Result, failed)
	}
	if policy != nil {
		fmt.Println(policy.Mode, policy.Match("mx.example.com"))
	}
}
