package introspect

import (
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"
)

// packed is an object as it is remembered, in little memory and with few pointers: a gateway may remember a million of
// them. It is immutable. The zero value has no members.
type packed struct {
	// names are shared by all objects with the same members, if there is room.
	names []string
	// text holds the strings and numbers one after the other, and then what keep and add have added.
	text string
	// ends tell, for each member, where its value ends in the text, shifted to make room for its kind.
	ends []uint32
	// trees are the values that are arrays or objects, shared as well if there is room.
	trees []any
	// own is how many bytes the names and trees take that are not shared.
	own int
}

// kinds of a value.
const (
	kindString = iota
	kindNumber
	kindTrue
	kindFalse
	kindNull
	kindTree
	kindBits = 3
)

// maxText is the most text that a packed object can hold, in bytes.
const maxText = 1<<(32-kindBits) - 1

// packer makes a packed object.
type packer struct {
	packed packed
	text   strings.Builder
}

// pack begins a packed object with the members of an object. It is not ok if they are too long.
func pack(o object) (*packer, bool) {
	p := new(packer)
	names := make([]string, len(o))
	length := 0
	for i, m := range o {
		names[i] = m.name
		switch value := m.value.(type) {
		case string:
			length += len(value)
		case json.Number:
			length += len(value)
		}
	}
	if length > maxText {
		return nil, false
	}
	var isShared bool
	if p.packed.names, isShared = sharedNames(names); !isShared {
		for _, name := range names {
			p.packed.own += stringBytes + len(name)
		}
	}
	p.packed.ends = make([]uint32, len(o))
	p.text.Grow(length)
	for i, m := range o {
		kind := kindTree
		switch value := m.value.(type) {
		case string:
			kind = kindString
			p.text.WriteString(value)
		case json.Number:
			kind = kindNumber
			p.text.WriteString(value.String())
		case bool:
			if kind = kindFalse; value {
				kind = kindTrue
			}
		case nil:
			kind = kindNull
		default:
			tree, isShared := sharedTree(m.value)
			p.packed.trees = append(p.packed.trees, tree)
			if !isShared {
				p.packed.own += sizeOf(tree)
			}
		}
		p.packed.ends[i] = uint32(p.text.Len())<<kindBits | uint32(kind)
	}
	return p, true
}

// span is a part of the text.
type span struct{ begin, end uint32 }

// keep finds room for a text that is part of the answer: where the value of a member has it already, else behind them.
func (p *packer) keep(text string) span {
	if text == "" {
		return span{}
	}
	begin := strings.Index(p.text.String(), text)
	if begin < 0 {
		begin = p.text.Len()
		p.text.WriteString(text)
	}
	return span{uint32(begin), uint32(begin + len(text))}
}

// add writes a text behind all others, and returns its length.
func (p *packer) add(text string) uint32 {
	p.text.WriteString(text)
	return uint32(len(text))
}

func (p *packer) finish() packed {
	// The builder's buffer may be larger than what is in it.
	p.packed.text = strings.Clone(p.text.String())
	return p.packed
}

func (p *packed) at(s span) string { return p.text[s.begin:s.end] }

// get returns the value of a member.
func (p *packed) get(name string) (value any, ok bool) {
	for i := range p.names {
		if p.names[i] == name {
			return p.value(i), true
		}
	}
	return nil, false
}

// string returns a member that is a string.
func (p *packed) string(name string) (text string, ok bool) {
	for i := range p.names {
		if p.names[i] == name {
			return p.textOf(i), p.kind(i) == kindString
		}
	}
	return "", false
}

// has says whether there is a member that is not null.
func (p *packed) has(name string) bool {
	for i := range p.names {
		if p.names[i] == name {
			return p.kind(i) != kindNull
		}
	}
	return false
}

func (p *packed) kind(i int) uint32 { return p.ends[i] & (1<<kindBits - 1) }

func (p *packed) value(i int) any {
	switch p.kind(i) {
	case kindString:
		return p.textOf(i)
	case kindNumber:
		return json.Number(p.textOf(i))
	case kindTrue:
		return true
	case kindFalse:
		return false
	case kindNull:
		return nil
	}
	tree := 0
	for before := range i {
		if p.kind(before) == kindTree {
			tree++
		}
	}
	return p.trees[tree]
}

func (p *packed) textOf(i int) string {
	begin := uint32(0)
	if i > 0 {
		begin = p.ends[i-1] >> kindBits
	}
	return p.text[begin : p.ends[i]>>kindBits]
}

// object returns the members as they were packed.
func (p *packed) object() object {
	members := make(object, len(p.names))
	for i, name := range p.names {
		members[i] = member{name, p.value(i)}
	}
	return members
}

// size is roughly how many bytes it takes in memory, beside what is shared.
func (p *packed) size() int {
	return len(p.text) + len(p.ends)*int(unsafe.Sizeof(uint32(0))) + len(p.trees)*stringBytes + p.own
}

// An authorization server says the same members of most tokens, and has the same groups for many users: these are kept once.
// How many are shared, and how long they are, is bounded, since an authority decides what they are.
var sharedLists, sharedTrees sharing

const (
	maxShared       = 4096
	maxSharedLength = 2048
)

// sharing keeps one of all values that are equal. It is safe for concurrent use.
type sharing struct {
	values sync.Map // by a text that tells them apart
	count  atomic.Int32
}

// one returns the value that is kept for a key, which is the given one if there is room, or else that there is none.
func (s *sharing) one(key string, value any) (known any, isShared bool) {
	if known, ok := s.values.Load(key); ok {
		return known, true
	}
	if len(key) > maxSharedLength || s.count.Load() >= maxShared {
		return value, false
	}
	known, loaded := s.values.LoadOrStore(key, value)
	if !loaded {
		s.count.Add(1)
	}
	return known, true
}

func sharedTree(value any) (tree any, isShared bool) {
	key, err := CompactJSON(value)
	if err != nil {
		return value, false
	}
	return sharedTrees.one(string(key), value)
}

func sharedNames(names []string) (known []string, isShared bool) {
	var key strings.Builder
	for _, name := range names {
		key.WriteString(strconv.Itoa(len(name)))
		key.WriteByte(':')
		key.WriteString(name)
	}
	if list, ok := sharedLists.values.Load(key.String()); ok {
		return list.([]string), true
	}
	// They are parts of a text that nobody keeps.
	for i, name := range names {
		names[i] = strings.Clone(name)
	}
	list, isShared := sharedLists.one(key.String(), names)
	return list.([]string), isShared
}
