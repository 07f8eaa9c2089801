package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// roles are those of the processes that get foreign bytes.
var roles = []Role{ScanWorker, YARAWorker, Compiler, USBReader}

func TestNoRoleHasNoRules(t *testing.T) {
	for _, role := range []Role{NoRole, USBReader + 1, 255} {
		if p, err := Rules(role, 1); !errors.Is(err, ErrRole) || len(p.Calls) > 0 {
			t.Errorf("Rules(%d) = %v, %v", role, p, err)
		}
		if layers, err := Enter(role); err == nil || layers != nil {
			t.Errorf("Enter(%d) = %v, %v", role, layers, err)
		}
	}
}

// TestCallNumbersAreTheKernels holds both tables against the ones that golang.org/x/sys generates from the kernel's headers.
func TestCallNumbersAreTheKernels(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/sys").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, arch := range []Arch{AMD64, ARM64} {
		text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "unix", "zsysnum_linux_"+string(arch)+".go"))
		if err != nil {
			t.Fatal(err)
		}
		kernel := map[string]uint32{}
		for _, m := range regexp.MustCompile(`SYS_(\w+)\s+=\s+(\d+)`).FindAllStringSubmatch(string(text), -1) {
			n, _ := strconv.Atoi(m[2])
			kernel[strings.ToLower(m[1])] = uint32(n)
		}
		for name, numbers := range number {
			have, listed := numbers[arch]
			if want, ok := kernel[name]; ok != listed || have != want {
				t.Errorf("%s on %s is %d in the table and %d (%v) in the kernel", name, arch, have, want, ok)
			}
		}
	}
}

// run is the kernel's part: it interprets a filter on one call. It knows the instructions that Filter uses and no others.
func run(t *testing.T, filter []unix.SockFilter, arch, nr uint32, args [6]uint64) uint32 {
	t.Helper()
	word := func(offset uint32) uint32 {
		switch {
		case offset == dataNumber:
			return nr
		case offset == dataArch:
			return arch
		case offset >= dataArgs && offset < dataArgs+48 && (offset-dataArgs)%8 == 0:
			return uint32(args[(offset-dataArgs)/8])
		}
		t.Fatalf("load from %d", offset)
		return 0
	}
	var a uint32
	for pc := 0; pc < len(filter); pc++ {
		in := filter[pc]
		taken := false
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = word(in.K)
			continue
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= in.K
			continue
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			taken = a == in.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			taken = a >= in.K
		default:
			t.Fatalf("instruction %#x", in.Code)
		}
		if taken {
			pc += int(in.Jt)
		} else {
			pc += int(in.Jf)
		}
	}
	t.Fatal("the filter runs off its end")
	return 0
}

func TestT03_EveryCallGetsWhatItsRuleSays(t *testing.T) {
	const pid = 4711
	for _, role := range append(slices.Clone(roles), USBGate) {
		policy, err := Rules(role, pid)
		if err != nil {
			t.Fatal(err)
		}
		for arch, id := range auditArch {
			filter, err := policy.Filter(arch)
			if err != nil {
				t.Fatal(err)
			}
			rule := map[uint32]Call{}
			for _, c := range policy.Calls {
				if nr, ok := number[c.Name][arch]; ok {
					rule[nr] = c
				}
			}
			for nr := range uint32(1024) {
				c, named := rule[nr]
				var values []uint64
				for _, v := range c.Values {
					values = append(values, uint64(v), uint64(v)|1<<40)
				}
				values = append(values, 0, 1, pid, pid+1, unix.PROT_EXEC, unix.PROT_READ|unix.PROT_EXEC, unix.CLONE_THREAD|unix.CLONE_NEWUSER, unix.CLONE_THREAD, 1<<63, ^uint64(0))
				for _, v := range values {
					var args [6]uint64
					args[c.Arg] = v
					want := Kill
					if named {
						want = c.Then
						if len(c.Values) > 0 {
							want = c.Otherwise
							for _, allowed := range c.Values {
								if uint32(v)&c.Mask == allowed {
									want = c.Then
								}
							}
						}
					}
					if got := run(t, filter, id, nr, args); got != result(want).K {
						t.Errorf("%v on %s: call %d (%s) with %#x gives %#x, want %#x", role, arch, nr, c.Name, v, got, result(want).K)
					}
				}
				if got := run(t, filter, id, nr|x32Bit, [6]uint64{}); got != unix.SECCOMP_RET_KILL_PROCESS {
					t.Errorf("%v on %s: x32 call %d gives %#x", role, arch, nr, got)
				}
				if got := run(t, filter, unix.AUDIT_ARCH_I386, nr, [6]uint64{}); got != unix.SECCOMP_RET_KILL_PROCESS {
					t.Errorf("%v on %s: 32-bit call %d gives %#x", role, arch, nr, got)
				}
			}
		}
	}
}

// TestNothingReachesOutside is the table that a reviewer looks at first: no role may do any of these, whatever the
// arguments.
func TestT03_NothingReachesOutside(t *testing.T) {
	forbidden := []string{
		"open", "openat", "openat2", "creat", "socket", "connect", "accept", "accept4", "bind", "listen", "sendmsg", "sendto", "sendmmsg", "recvmsg", "recvfrom", "recvmmsg", "shutdown", "setsockopt", "execve", "execveat",
		"fork", "vfork", "clone3", "kill", "tkill", "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_open", "pidfd_getfd", "memfd_create",
		"ioctl", "mount", "unlink", "unlinkat", "rename", "dup", "dup2", "dup3", "pipe2", "bpf", "io_uring_setup", "userfaultfd", "perf_event_open",
		"keyctl", "unshare", "setns", "seccomp", "prlimit64", "setrlimit", "shmat", "remap_file_pages", "pkey_mprotect", "ftruncate", "fallocate", "getdents64", "chdir",
	}
	for _, role := range roles {
		policy, err := Rules(role, 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range policy.Calls {
			for _, name := range forbidden {
				if c.Name != name || c.Then != Allow && c.Otherwise != Allow {
					continue
				}
				if role == USBReader && name == "ioctl" && c.Otherwise == Kill && len(c.Values) == 3 {
					continue // three orders to a USB device, of which it holds one
				}
				t.Errorf("%v allows %s", role, name)
			}
		}
	}
}

func TestFilterRefusesWhatItCannotCompile(t *testing.T) {
	for name, p := range map[string]Policy{
		"unknown call":    {Calls: []Call{{Name: "no_such_call", Then: Allow}}},
		"named twice":     {Calls: []Call{{Name: "read", Then: Allow}, {Name: "read"}}},
		"argument 6":      {Calls: []Call{{Name: "read", Arg: 6, Values: []uint32{1}}}},
		"too many values": {Calls: []Call{{Name: "read", Values: make([]uint32, 65)}}},
	} {
		if f, err := p.Filter(AMD64); err == nil {
			t.Errorf("%s: %d instructions", name, len(f))
		}
	}
	if _, err := (Policy{}).Filter("riscv64"); err == nil {
		t.Error("an architecture without a table is accepted")
	}
	if s := fmt.Sprint(Role(99)); s != "no role" {
		t.Errorf("Role(99) is %q", s)
	}
}
