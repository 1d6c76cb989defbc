package plans

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// draw writes the picture of a scene into the directory POSTRIDER_DRAW, if that is set: tasks in flight and the window, the
// backlog, and deliveries, over time.
func (s *scene) draw(name string) {
	dir := os.Getenv("POSTRIDER_DRAW")
	if dir == "" {
		return
	}
	const width, height, left = 900, 160, 70
	end := s.samples[len(s.samples)-1].at
	x := func(at time.Duration) float64 { return left + float64(width)*float64(at)/float64(max(end, 1)) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`, width+left+20, 3*(height+50)+30)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/><text x="%d" y="18" font-size="15">%s</text>`, left, name)
	panel := func(n int, title string, graphs map[string]func(sample) float64) {
		bottom := float64(n*(height+50)) + 50 + height
		top := 1.0
		for _, f := range graphs {
			for _, p := range s.samples {
				top = max(top, f(p))
			}
		}
		for i, p := range s.samples {
			if p.down {
				to := end
				if i+1 < len(s.samples) {
					to = s.samples[i+1].at
				}
				fmt.Fprintf(&b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%d" fill="#fdd"/>`, x(p.at), bottom-height, x(to)-x(p.at)+0.5, height)
			}
		}
		fmt.Fprintf(&b, `<text x="%d" y="%.1f">%s</text><text x="%d" y="%.1f" text-anchor="end">%.0f</text>`, left, bottom-height-6, title, left-6, bottom-height+10, top)
		fmt.Fprintf(&b, `<path d="M%d %.1fV%.1fH%d" stroke="#888" fill="none"/>`, left, bottom-height, bottom, left+width)
		for color, f := range graphs {
			fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" points="`, color)
			for _, p := range s.samples {
				fmt.Fprintf(&b, "%.1f,%.1f ", x(p.at), bottom-float64(height)*max(0, f(p))/top)
			}
			b.WriteString(`"/>`)
		}
		if n == 2 {
			fmt.Fprintf(&b, `<text x="%d" y="%.1f" text-anchor="end">%v</text>`, left+width, bottom+16, end.Round(time.Second))
		}
	}
	panel(0, "in flight (blue), window (grey), down (red)", map[string]func(sample) float64{
		"#aaa": func(p sample) float64 { return float64(p.window) },
		"#06c": func(p sample) float64 { return float64(p.inFlight) },
	})
	panel(1, "backlog", map[string]func(sample) float64{"#c60": func(p sample) float64 { return float64(p.backlog) }})
	panel(2, "delivered", map[string]func(sample) float64{"#080": func(p sample) float64 { return float64(p.delivered) }})
	b.WriteString("</svg>\n")
	err := cmp.Or(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, name+".svg"), []byte(b.String()), 0o644))
	if err != nil {
		s.t.Error(err)
	}
}
