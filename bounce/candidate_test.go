package bounce

import "testing"

// TestEachAddress finds addresses within text, also where the script has no spaces.
func TestEachAddress(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"alone", "bob@far.test", "bob@far.test"},
		{"brackets", "to <bob@far.test>.", "bob@far.test"},
		{"wide brackets", "收件人（bob@far.test）不存在", "bob@far.test"},
		{"ideographs on both sides", "地址bob@far.test不存在", "bob@far.test"},
		{"kana", "宛先bob@far.testが見つかりません", "bob@far.test"},
		{"a local part of ideographs", "用户@far.test", "用户@far.test"},
		{"a domain of ideographs", "bob@例子.测试", "bob@例子.测试"},
		{"accents", "müller@far.test", "müller@far.test"},
		{"Cyrillic", "для дмитрий@far.test:", "дмитрий@far.test"},
		{"no domain", "bob@ far", ""},
		{"malformed UTF-8", "\xffbob@far.test\xff", "\xffbob@far.test\xff"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			eachAddress(tt.text, func(_, _ int, address string) bool {
				got += address
				return true
			})
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
