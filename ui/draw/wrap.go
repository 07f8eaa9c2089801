package draw

import "strings"

// wrap breaks text into lines that are at most w wide. A word that is wider than a line is broken where the line ends: a name of
// 255 letters must not leave the screen.
func (s *sheet) wrap(text string, size float32, bold bool, w float32) []string {
	var lines []string
	line := ""
	width := func(t string) float32 { tw, _ := s.measure(t, size, bold, false); return tw }
	for _, word := range strings.Fields(text) {
		if line != "" && width(line+" "+word) <= w {
			line += " " + word
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		for line = word; width(line) > w; {
			n := s.prefix(line, size, bold, w)
			lines = append(lines, line[:n])
			line = line[n:]
		}
	}
	return append(lines, line)
}

// prefix is how many bytes of a word fit into w: one character at least.
func (s *sheet) prefix(word string, size float32, bold bool, w float32) int {
	last := 0
	for i := range word {
		if i == 0 {
			continue
		}
		if tw, _ := s.measure(word[:i], size, bold, false); tw > w {
			break
		}
		last = i
	}
	if last == 0 {
		for i := range word {
			if i > 0 {
				return i
			}
		}
		return len(word)
	}
	return last
}

// torn reports whether a word was broken.
func (s *sheet) torn(text string, lines []string) bool {
	return strings.Join(strings.Fields(text), " ") != strings.Join(lines, " ")
}

// cut is text in one line of at most w, with a mark where something is left out.
func (s *sheet) cut(text string, size float32, bold bool, w float32) string {
	if tw, _ := s.measure(text, size, bold, false); tw <= w {
		return text
	}
	ellipsis, _ := s.measure("…", size, bold, false)
	return text[:s.prefix(text, size, bold, w-ellipsis)] + "…"
}
