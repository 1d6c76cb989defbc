package spool_test

import (
	"fmt"
	"time"

	"github.com/postrider/postrider/queue/spool"
)

// A Spool with a smaller reserve, on a small disk.
func ExampleOptions() {
	options := spool.Options{Reserve: 4 << 20, SegmentSize: 4 << 20, SyncDelay: 100 * time.Millisecond}
	q, err := options.Open("/var/spool/app")
	if err != nil {
		fmt.Println(err) // "spool: /var/spool/app is open in process 4711", say
		return
	}
	defer q.Close()
}
