# make demo   screens sample sticks from end to end
# make test   runs every test
# Each installs what it needs on Debian 12 with git, make and Go 1.26.

GO       ?= go
BIN      := bin
STATIC   := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -buildid='
CGO      := CGO_ENABLED=1 $(GO) build -trimpath -ldflags '-s -w -buildid='

# What the programs are built with, what the sample sticks and the demonstration need, what the tests compare with.
APT_BUILD := gcc libc6-dev pkg-config libyara-dev libusb-1.0-0-dev
APT_TEST  := umockdev procps strace util-linux ntfs-3g mtools dosfstools exfatprogs sleuthkit gdisk fdisk yara \
             btrfs-progs e2fsprogs xfsprogs cryptsetup-bin f2fs-tools squashfs-tools udftools xorriso genisoimage p7zip-full \
             zip xz-utils bzip2 zstd lz4 lzip ncompress cpio gcab arj jlha-utils fp-utils-3.2.2 qemu-utils \
             erofs-utils jfsutils reiserfsprogs apfsprogs hfsutils makefs swtpm softhsm2 python3 \
             libxml2-utils poppler-utils fonts-urw-base35 zbar-tools nsis unzip qpdf \
             libreoffice-writer-nogui libreoffice-calc-nogui msitools
APT_UI    := gcc libc6-dev libgl1-mesa-dev xorg-dev
APT_SCREEN := $(APT_UI) libgl1-mesa-dri xvfb xdotool x11-utils imagemagick zbar-tools poppler-utils
APT_BENCH := clamav
APT_E2E   := qemu-system-x86 xz-utils e2fsprogs

# Mutants, kills and the like: a tenth here, the full count in nightly.
QUICK := ./kiosk/... ./scanner/... ./rules/... ./ui ./ui/receipt ./ui/samples ./ui/sound ./testdata/stick ./testdata/mksticks ./testdata/bench ./testdata/packs ./testdata/nightly ./testdata/e2e/... .

.PHONY: build demo kiosk ui test check screen e2e e2e-quick bench fuzz nightly soak pictures apt-build apt-test apt-ui apt-screen clean

build: apt-build
	@mkdir -p $(BIN)
	$(CGO) -o $(BIN)/pratique ./kiosk/pratique
	$(CGO) -o $(BIN)/pratiqued ./kiosk/pratiqued
	$(CGO) -o $(BIN)/yaraworker ./scanner/yaraworker
	$(CGO) -o $(BIN)/usbreader ./kiosk/usbreader
	$(CGO) -o $(BIN)/rulepack ./rules/rulepack
	$(CGO) -o $(BIN)/keyhelper ./kiosk/keyhelper
	$(STATIC) -o $(BIN)/scanworker ./scanner/scanworker
	$(STATIC) -o $(BIN)/usbgate ./kiosk/usbgate
	$(STATIC) -o $(BIN)/clearcheck ./kiosk/clearcheck
	GOOS=linux GOARCH=arm64 $(STATIC) -o $(BIN)/clearcheck-linux-arm64 ./kiosk/clearcheck
	GOOS=windows GOARCH=amd64 $(STATIC) -o $(BIN)/clearcheck-windows-amd64.exe ./kiosk/clearcheck

apt-build:
	@packaging/apt-install $(APT_BUILD)

apt-test:
	@packaging/apt-install $(APT_BUILD) $(APT_TEST)

apt-ui:
	@packaging/apt-install $(APT_UI)

apt-screen: apt-ui
	@packaging/apt-install $(APT_BUILD) $(APT_SCREEN)

# The screen, apart from the rest: its toolkit takes a while to compile, and needs the headers of X and OpenGL.
ui: apt-ui
	@mkdir -p $(BIN)
	$(CGO) -o $(BIN)/kioskui ./ui/kioskui

# A station on your desk, with its screen in a window. A folder is the USB port.
kiosk: build ui
	@$(GO) build -trimpath -o $(BIN)/mksticks ./testdata/mksticks
	@testdata/kiosk.sh $(BIN)

demo: build
	@$(GO) build -trimpath -o $(BIN)/mksticks ./testdata/mksticks
	@testdata/demo.sh $(BIN)

check: apt-test
	$(GO) vet $(QUICK)
	$(GO) test -short $(QUICK)

test: build apt-test
	$(GO) vet $(QUICK)
	$(GO) test -timeout 20m $(QUICK)

# The screen: every page on every size of screen, and the real window under a virtual display, driven by real input.
SCREEN = $(GO) test -tags screen -timeout 100m -v ./testdata/screen -bin $(abspath $(BIN))

screen: build ui apt-screen
	$(GO) vet -tags screen ./ui/... ./testdata/screen
	CGO_ENABLED=0 $(GO) test ./ui/draw
	$(SCREEN)

# An hour of whatever people and children do to a screen.
soak: build ui apt-screen
	$(SCREEN) -run 'T20|Memory' -soak 1h -sessions 1000

# The pictures in the README.
pictures: build ui apt-screen
	$(SCREEN) -run Window -pictures $(abspath packaging/pictures)

# The station and real USB stacks in QEMU: Debian's kernel, a fresh machine for each case. The quick run leaves out what resembles
# another case.
E2E = $(GO) test -tags e2e -timeout 30m -parallel 2 -v $(if $(RUN),-run '$(RUN)') ./testdata/e2e

e2e: apt-test
	@packaging/apt-install $(APT_E2E)
	$(GO) vet -tags e2e ./testdata/e2e/...
	$(E2E) -full

e2e-quick: apt-test
	@packaging/apt-install $(APT_E2E)
	$(E2E)

bench: build apt-test
	@packaging/apt-install $(APT_BENCH)
	@$(GO) run ./testdata/bench -bin $(BIN) $(if $(RULES),-rules '$(RULES)')
	@$(GO) test ./kiosk/audit -run TestAppendIsDurableWithinFiveMilliseconds -v | sed -n 's/.*\(bench .*\)/\1/p'
	@$(GO) test ./kiosk -run TestRecallOfManyItemsIsQuick -recall-items 1000000 -v | grep '^bench'
	@$(GO) test ./kiosk -run TestRecallOfManyItemsIsQuick -recall-items 10000000 -timeout 30m -v | grep '^bench'
	@$(GO) test ./kiosk -run TestALargeListIsCompiledOnceForAllSessions -list-hashes 1000000 -v | grep '^bench'
	@$(GO) test ./kiosk -run TestALargeListIsCompiledOnceForAllSessions -list-hashes 10000000 -v | grep '^bench'
	@$(GO) test ./kiosk -run TestScansGoOnWhileALargePackIsInstalled -list-hashes 1000000 $(if $(RULES),-pack-rules '$(abspath $(RULES))') -v | grep '^bench'

nightly: apt-test
	@packaging/apt-install $(APT_E2E)
	@$(GO) run ./testdata/nightly $(if $(RUN),-run '$(RUN)')

fuzz: apt-test
	@GO='$(GO)' FUZZTIME='$(or $(FUZZTIME),20s)' testdata/fuzz.sh $(QUICK)

clean:
	rm -rf $(BIN) demo bench
