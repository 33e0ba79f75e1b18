package scenario

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits that keep a hostile or damaged file from costing more than an error message.
const (
	maxFile    = 1 << 20 // bytes
	maxNodes   = 100_000 // after aliases are resolved
	maxNesting = 64
	maxAnchors = 1000
	maxTokens  = 50_000 // the parser's time grows with the square of a mapping's keys
)

// parseYAML reads all documents of a file. Problems are those of YAML itself; where there are some, the documents hold
// what could be read, which may be nothing.
func parseYAML(file string, data []byte) ([]*node, Problems) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if p := readable(file, data); p != nil {
		return nil, Problems{*p}
	}
	tokens, p := tokenize(file, data)
	if p != nil {
		return nil, Problems{*p}
	}
	parsed, p := parseTokens(file, tokens)
	if p != nil {
		return nil, Problems{*p}
	}
	b := &builder{file: file, lines: strings.Split(string(data), "\n"), seen: map[*token.Token]bool{}}
	var docs []*node
	for _, doc := range parsed.Docs {
		if isEmptyDoc(doc) {
			continue
		}
		b.anchors, b.open = map[string]ast.Node{}, map[string]bool{}
		docs = append(docs, b.build(doc.Body, 0))
	}
	if b.nodes > maxNodes {
		return nil, b.problems
	}
	b.reportUnread(tokens)
	return docs, b.problems
}

func isEmptyDoc(doc *ast.DocumentNode) bool {
	switch doc.Body.(type) {
	case nil, *ast.CommentGroupNode, *ast.DirectiveNode:
		return true
	}
	return false
}

func readable(file string, data []byte) *Problem {
	at := func(offset int) Pos {
		line := 1 + bytes.Count(data[:offset], []byte("\n"))
		column := 1 + utf8.RuneCount(data[bytes.LastIndexByte(data[:offset], '\n')+1:offset])
		return Pos{file, line, column}
	}
	if len(data) > maxFile {
		return &Problem{Pos: Pos{File: file}, What: fmt.Sprintf("the file is larger than %d bytes", maxFile),
			Hint: "split it and use include, or refer to manifests by file"}
	}
	for i, r := range string(data) {
		isBroken := r == utf8.RuneError && !bytes.HasPrefix(data[i:], []byte("\uFFFD"))
		if isBroken || r < ' ' && r != '\t' && r != '\n' && r != '\r' {
			return &Problem{Pos: at(i), What: "not a text file: it holds bytes that YAML does not allow"}
		}
	}
	return nil
}

// tokenize also refuses what would make the parser recurse without bound.
func tokenize(file string, data []byte) (tokens token.Tokens, p *Problem) {
	defer recoverAs(file, &p)
	tokens = lexer.Tokenize(string(data))
	if len(tokens) > maxTokens {
		return nil, &Problem{Pos: posOf(file, tokens[maxTokens]), Hint: "split the file",
			What: fmt.Sprintf("the file holds more than %d words and signs", maxTokens)}
	}
	depth, entries, anchors, line := 0, 0, 0, 0
	for _, t := range tokens {
		if t.Position.Line != line {
			line, entries = t.Position.Line, 0
		}
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			depth++
		case token.MappingEndType, token.SequenceEndType:
			depth--
		case token.SequenceEntryType:
			entries++
		case token.AnchorType:
			anchors++
		case token.TagType:
			return nil, &Problem{Pos: posOf(file, t), What: "YAML tags (" + t.Value + ") are not supported"}
		case token.MappingKeyType:
			return nil, &Problem{Pos: posOf(file, t), What: "explicit keys (?) are not supported", Hint: "write key: value"}
		}
		if depth > maxNesting || entries > maxNesting || anchors > maxAnchors {
			return nil, &Problem{Pos: posOf(file, t), What: "nested too deeply, or too many anchors"}
		}
	}
	return tokens, nil
}

func parseTokens(file string, tokens token.Tokens) (parsed *ast.File, p *Problem) {
	defer recoverAs(file, &p)
	parsed, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err == nil {
		return parsed, nil
	}
	pos, what := Pos{File: file}, err.Error()
	var syntax *yaml.SyntaxError
	if errors.As(err, &syntax) {
		pos, what = posOf(file, syntax.Token), syntax.Message
	}
	p = &Problem{Pos: pos, What: "broken YAML: " + what}
	if pos.Line > 0 && strings.Contains(lineOf(tokens, pos.Line), "${") {
		p.Hint = "inside { } and [ ], put ${name} in quotes"
	}
	return nil, p
}

// lineOf is the text of the tokens on that line.
func lineOf(tokens token.Tokens, line int) string {
	var text strings.Builder
	for _, t := range tokens {
		if t.Position.Line == line {
			text.WriteString(t.Origin)
		}
	}
	return text.String()
}

// recoverAs turns a panic of the YAML library on damaged input into a problem.
func recoverAs(file string, p **Problem) {
	if r := recover(); r != nil {
		*p = &Problem{Pos: Pos{File: file}, What: fmt.Sprintf("broken YAML: %v", r)}
	}
}

func posOf(file string, t *token.Token) Pos {
	if t == nil || t.Position == nil {
		return Pos{File: file}
	}
	return Pos{file, t.Position.Line, t.Position.Column}
}

// builder turns the syntax tree of one file into nodes.
type builder struct {
	file     string
	lines    []string
	nodes    int
	anchors  map[string]ast.Node
	open     map[string]bool // anchors whose value is being built
	seen     map[*token.Token]bool
	problems Problems
}

func (b *builder) report(pos Pos, what, hint string) {
	b.problems = append(b.problems, Problem{Pos: pos, What: what, Hint: hint})
}

// reportUnread makes sure that nothing of the file was passed over: the parser stops silently after an empty document.
func (b *builder) reportUnread(tokens token.Tokens) {
	for _, t := range tokens {
		if isValueToken(t) && !b.seen[t] && len(b.problems) == 0 {
			b.report(posOf(b.file, t), "what begins here cannot be read", "remove the empty document (---) before it")
			return
		}
	}
}

func isValueToken(t *token.Token) bool {
	switch t.Type {
	case token.CommentType, token.MergeKeyType, token.DocumentHeaderType, token.DocumentEndType:
		return false
	}
	return t.CharacterType == token.CharacterTypeMiscellaneous
}

func (b *builder) build(n ast.Node, depth int) *node {
	pos := Pos{File: b.file}
	if n != nil {
		pos = b.startOf(n)
	}
	out := &node{pos: pos, key: pos}
	b.nodes++
	if b.nodes > maxNodes || depth > 2*maxNesting {
		if b.nodes <= maxNodes+1 {
			b.nodes = maxNodes + 1
			b.report(pos, "the document is too large or nested too deeply once its aliases are resolved", "")
		}
		return out
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		b.buildMap(out, n.Values, depth)
	case *ast.MappingValueNode:
		b.buildMap(out, []*ast.MappingValueNode{n}, depth)
	case *ast.SequenceNode:
		out.kind = listNode
		for _, v := range n.Values {
			out.items = append(out.items, b.build(v, depth+1))
		}
	case *ast.AnchorNode:
		return b.buildAnchor(n, depth)
	case *ast.AliasNode:
		return b.buildAlias(n, pos, depth)
	default:
		b.buildScalar(out, n)
	}
	return out
}

// startOf is where a person sees the value begin: a block mapping at its first key, not at the colon.
func (b *builder) startOf(n ast.Node) Pos {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return posOf(b.file, n.Values[0].Key.GetToken())
		}
	case *ast.MappingValueNode:
		return posOf(b.file, n.Key.GetToken())
	}
	return posOf(b.file, n.GetToken())
}

func (b *builder) buildMap(out *node, values []*ast.MappingValueNode, depth int) {
	out.kind = mapNode
	var inherited []*node
	for _, v := range values {
		keyToken := v.Key.GetToken()
		pos := posOf(b.file, keyToken)
		if v.Key.IsMergeKey() {
			inherited = append(inherited, b.build(v.Value, depth+1))
			continue
		}
		if _, isAlias := v.Key.(ast.ScalarNode); !isAlias {
			b.report(pos, "a key must be plain text", "")
			continue
		}
		b.seen[keyToken] = true
		if b.isGlued(v) {
			b.report(pos, "the colon in this key has no space after it", "put the key in quotes, or a space after the colon")
			continue
		}
		name := keyToken.Value
		if first := out.field(name); first != nil {
			b.report(pos, fmt.Sprintf("the key %q is given twice", name), fmt.Sprintf("first on line %d", first.key.Line))
			continue
		}
		value := b.build(v.Value, depth+1)
		value.key = pos
		out.fields = append(out.fields, field{name, value})
	}
	for _, from := range inherited {
		b.inherit(out, from)
	}
}

// isGlued finds what YAML reads as one text and the parser as a key with its value: {a:1: b}.
func (b *builder) isGlued(v *ast.MappingValueNode) bool {
	pos := posOf(b.file, v.Start)
	if v.Key.GetToken().Type != token.StringType || pos.Line < 1 || pos.Line > len(b.lines) {
		return false
	}
	line := []rune(b.lines[pos.Line-1])
	return pos.Column < len(line) && line[pos.Column-1] == ':' && !strings.ContainsRune(" \t\r,[]{}", line[pos.Column])
}

// inherit does what the merge key << says.
func (b *builder) inherit(out, from *node) {
	sources := []*node{from}
	if from.kind == listNode {
		sources = from.items
	}
	for _, source := range sources {
		if source.kind != mapNode {
			b.report(source.pos, "<< needs a mapping", "")
			continue
		}
		for _, f := range source.fields {
			if out.field(f.name) == nil {
				out.fields = append(out.fields, f)
			}
		}
	}
}

func (b *builder) buildAnchor(n *ast.AnchorNode, depth int) *node {
	name := n.Name.GetToken().Value
	b.seen[n.Name.GetToken()] = true
	b.anchors[name] = n.Value
	b.open[name] = true
	defer delete(b.open, name)
	return b.build(n.Value, depth+1)
}

func (b *builder) buildAlias(n *ast.AliasNode, pos Pos, depth int) *node {
	name := n.Value.GetToken().Value
	b.seen[n.Value.GetToken()] = true
	value, ok := b.anchors[name]
	switch {
	case !ok:
		b.report(pos, fmt.Sprintf("the alias *%s has no anchor before it", name), "")
		return &node{pos: pos, key: pos}
	case b.open[name]:
		b.report(pos, fmt.Sprintf("the alias *%s contains itself", name), "")
		return &node{pos: pos, key: pos}
	}
	out := b.build(value, depth+1)
	out.pos, out.key, out.text = pos, pos, 0
	return out
}

func (b *builder) buildScalar(out *node, n ast.Node) {
	if n != nil {
		b.seen[n.GetToken()] = true
	}
	switch n := n.(type) {
	case *ast.StringNode:
		out.scalar = n.Value
		out.text = b.textColumn(out.pos, n.Value)
	case *ast.LiteralNode:
		b.seen[n.Value.GetToken()] = true
		out.scalar = n.Value.Value
	case *ast.IntegerNode:
		out.scalar = json.Number(fmt.Sprint(n.Value))
	case *ast.FloatNode:
		if math.IsInf(n.Value, 0) {
			b.report(out.pos, "the number is too large", "")
			return
		}
		out.scalar = json.Number(strconv.FormatFloat(n.Value, 'g', -1, 64))
	case *ast.BoolNode:
		out.scalar = n.Value
	case *ast.InfinityNode, *ast.NanNode:
		b.report(out.pos, "the number must be finite", "")
	case nil, *ast.NullNode, *ast.CommentGroupNode:
	default:
		b.report(out.pos, "YAML of this kind is not supported: "+n.Type().String(), "")
	}
}

// textColumn is where the text starts when the source holds it as it is on that line, after a quote or not; else 0.
func (b *builder) textColumn(pos Pos, text string) int {
	if pos.Line < 1 || pos.Line > len(b.lines) {
		return 0
	}
	line := []rune(b.lines[pos.Line-1])
	for column := pos.Column; column <= pos.Column+1 && column >= 1 && column <= len(line); column++ {
		if strings.HasPrefix(string(line[column-1:]), text) {
			return column
		}
	}
	return 0
}
