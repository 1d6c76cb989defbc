package mem

import "time"

// NewAt is New with another clock.
func NewAt(now func() time.Time) *Queue { return &Queue{now: now} }
