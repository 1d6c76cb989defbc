package queueweb

import (
	"time"
)

// ages are the upper bounds of the columns of a table by age, as those of Postfix's qshape. The last column is open.
var ages = [...]time.Duration{
	5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 40 * time.Minute, 80 * time.Minute, 160 * time.Minute,
	320 * time.Minute, 640 * time.Minute, 1280 * time.Minute,
}

// columns has one more number than ages.
type columns [len(ages) + 1]int

func ageColumn(age time.Duration) int {
	for i, most := range ages {
		if age < most {
			return i
		}
	}
	return len(ages)
}
