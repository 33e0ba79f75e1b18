package settings

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// ErrUnknown is a key that is none of the table's.
var ErrUnknown = errors.New("flow control has no such key")

// Check says what is wrong with a value for a full key, as decoded from JSON or YAML: ErrUnknown, or why the value is not taken. nil, which
// takes the key back to its default, is never wrong.
func Check(full string, value any) error {
	if IsBlock(full) {
		return checkBlock(value)
	}
	s := Store{table: table(1)}
	k, name, ok := s.find(full)
	if !ok {
		return ErrUnknown
	}
	if value == nil {
		return nil
	}
	b, err := json.Marshal(value)
	if err != nil {
		return err
	}
	var v Value
	if err := v.UnmarshalJSON(b); err != nil {
		return err
	}
	if err := k.set(&Settings{}, name, v); err != nil {
		return fmt.Errorf("is %s, and %w", v, err)
	}
	return nil
}

// IsBlock reports a key of Elasticsearch's own by which it takes no writes: the block that a full disk causes, for the whole cluster.
func IsBlock(full string) bool {
	return full == "cluster.blocks.read_only" || full == "cluster.blocks.read_only_allow_delete"
}

func checkBlock(value any) error {
	switch value {
	case nil, true, false, "true", "false":
		return nil
	}
	return fmt.Errorf("is %v, and only [true] or [false] are allowed", value)
}

// Names are the keys of the table, sorted; a * in one stands for a rule's name.
func Names() []string {
	var out []string
	for _, k := range table(1) {
		out = append(out, k.name)
	}
	slices.Sort(out)
	return out
}
