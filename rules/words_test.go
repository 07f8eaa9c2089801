package rules

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pratique/scanner/report"
)

// said are the words of findings in the scanner's sources, as CHECK/WORD, with the severities that stand beside them.
type said map[string]map[string]bool

var aWord = regexp.MustCompile(`^[a-z]+(-[a-z0-9]+)*$`)

// noting are the functions that take a finding's word as their first text.
var noting = map[string]bool{"Note": true, "note": true, "find": true, "finding": true, "count": true, "fail": true}

// varies stands for a severity that the scanner works out.
const varies = "varies"

func literal(e ast.Expr) string {
	if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
		if s, err := strconv.Unquote(lit.Value); err == nil && aWord.MatchString(s) {
			return s
		}
	}
	return ""
}

// severityAmong is the severity that stands in a list of expressions, if one does.
func severityAmong(list []ast.Expr) string {
	for _, e := range list {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			e = kv.Value
		}
		if sel, ok := e.(*ast.SelectorExpr); ok && (sel.Sel.Name == "Block" || sel.Sel.Name == "Warn" || sel.Sel.Name == "Inform") {
			return strings.ToLower(sel.Sel.Name)
		}
		if id, ok := e.(*ast.Ident); ok && id.Name == "severity" {
			return varies
		}
	}
	return ""
}

func (s said) add(check, word string, among []ast.Expr) {
	if word == "" {
		return
	}
	key := check + "/" + word
	if s[key] == nil {
		s[key] = map[string]bool{}
	}
	if severity := severityAmong(among); severity != "" {
		s[key][severity] = true
	}
}

// read gathers the words of one file.
func (s said) read(t *testing.T, name string) {
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	check := "volume"
	if strings.Contains(name, "/structure/") {
		check = "structure"
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			callee, receiver := "", ""
			switch f := n.Fun.(type) {
			case *ast.Ident:
				callee = f.Name
			case *ast.SelectorExpr:
				callee = f.Sel.Name
				if x, ok := f.X.(*ast.Ident); ok {
					receiver = x.Name
				}
			}
			if !noting[callee] || check != "volume" {
				return true
			}
			own := check
			if callee == "find" && receiver == "m" {
				own = "medium" // the mapper's
			}
			for _, arg := range n.Args {
				if w := literal(arg); w != "" {
					s.add(own, w, n.Args)
					break
				}
			}
		case *ast.CompositeLit:
			own, word := check, ""
			for _, e := range n.Elts {
				kv, ok := e.(*ast.KeyValueExpr)
				if !ok {
					continue
				}
				switch key, _ := kv.Key.(*ast.Ident); {
				case key == nil:
				case key.Name == "Rule" || key.Name == "rule":
					word = literal(kv.Value)
				case key.Name == "Check":
					if sel, ok := kv.Value.(*ast.SelectorExpr); ok {
						own = strings.ToLower(strings.TrimPrefix(sel.Sel.Name, "Check"))
					}
				}
			}
			s.add(own, word, n.Elts)
		case *ast.ValueSpec:
			for i, id := range n.Names {
				if i >= len(n.Values) {
					continue
				}
				table, ok := n.Values[i].(*ast.CompositeLit)
				switch {
				case id.Name == "word":
					s.add(check, literal(n.Values[i]), nil)
				case ok && (id.Name == "book" || id.Name == "nameTricks"):
					for _, e := range table.Elts {
						if kv, ok := e.(*ast.KeyValueExpr); ok {
							e = kv.Value
						}
						if row, ok := e.(*ast.CompositeLit); ok && len(row.Elts) > 0 {
							s.add(check, literal(row.Elts[0]), row.Elts)
						}
					}
				}
			}
		}
		return true
	})
}

// A policy can name every finding of the scanner, and no other. Whoever gives the scanner a new finding adds its word to the
// table of words, with the severity that it proposes.
func TestWordsAreThoseOfTheScanner(t *testing.T) {
	found := said{}
	err := filepath.WalkDir(filepath.Join("..", "scanner"), func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "volumetest" {
			return filepath.SkipDir
		}
		if err == nil && strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
			found.read(t, filepath.ToSlash(name))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	listed, structure := map[string]report.Severity{}, 0
	for check, lists := range words {
		for severity, list := range lists {
			for _, word := range strings.Fields(list) {
				key := check.String() + "/" + word
				if _, twice := listed[key]; twice {
					t.Errorf("%s is listed twice", key)
				}
				listed[key] = report.Severity(severity)
				if found[key] == nil {
					t.Errorf("%s is listed, and the scanner says no such thing", key)
				}
				if check == report.CheckStructure {
					structure++
				}
			}
		}
	}
	for key, severities := range found {
		proposed, ok := listed[key]
		if !ok {
			t.Errorf("the scanner says %s, and no policy can name it: add it to the table of words", key)
			continue
		}
		if len(severities) > 0 && !severities[proposed.String()] && !severities[varies] {
			t.Errorf("%s is listed as %v, the scanner proposes %v", key, proposed, severities)
		}
		for worse := range proposed {
			if severities[worse.String()] {
				t.Errorf("%s is listed as %v, the scanner also proposes %v", key, proposed, worse)
			}
		}
	}
	if structure < 55 {
		t.Errorf("only %d words of structure", structure)
	}
	for key := range unlowered {
		if listed[key] != report.Block || found[key] == nil {
			t.Errorf("%s is no blocking finding", key)
		}
	}
}
