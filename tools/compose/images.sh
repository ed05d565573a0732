# The images of tools/compose-test, which sources this: the base, the build image, the program. Real ones where a registry can be
# reached, else stand-ins made of what this machine has. The script gives note, skip, work, short, from_source and optimised.

# What the stand-ins are called, and the base image that a machine with a registry takes.
stand_in_base=slotcore-test-base
stand_in_build=slotcore-test-build
small_base=slotcore-test-small
real_base=$(sed -n 's/^ARG BASE_IMAGE=//p' tools/docker/Dockerfile)
release=bookworm

has_image() {
    docker image inspect "$1" >/dev/null 2>&1
}

# The base image, or a stand-in for it: the same release of Debian, without what a base image leaves out.
find_base() {
    export SLOTCORE_BASE_IMAGE=$real_base
    if has_image "$real_base" || in_time docker pull -q "$real_base" >/dev/null 2>&1; then
        stand_ins=false
        return
    fi
    stand_ins=true
    export SLOTCORE_BASE_IMAGE=$stand_in_base
    if has_image $stand_in_base; then return; fi
    note "no image can be pulled; debootstrap makes a stand-in for $real_base (a minute)"
    [ "$(id -u)" -eq 0 ] || skip "no image can be pulled, and only root can make a stand-in"
    command -v debootstrap >/dev/null || install debootstrap || skip "debootstrap cannot be installed"
    rm -rf "$work/base"
    in_time debootstrap --variant=minbase $release "$work/base" >"$work/debootstrap.log" 2>&1 ||
        skip "debootstrap fails; see $work/debootstrap.log"
    rm -rf "$work"/base/var/cache/apt/archives/*.deb "$work"/base/var/lib/apt/lists/* "$work"/base/usr/share/{doc,man,locale}
    tar -C "$work/base" -c . | docker import - $stand_in_base >/dev/null
    rm -rf "$work/base"
}

# For the short form: this machine's own shell, the programs that the image is built and looked into with, and the libraries of these and
# of the program. Made in a second, without any network.
make_small_base() {
    local folder=$work/small name file
    rm -rf "$folder"
    mkdir -p "$folder"/{dev,etc,host,proc,run,sys,tmp,usr}
    for name in bin sbin lib lib64; do
        if [ -L /$name ]; then cp -P /$name "$folder/$name"; fi
        mkdir -p "$folder/$(realpath -m --relative-to=/ /$name)"
    done
    for name in sh cp mkdir sleep getent chroot; do
        file=$(PATH=$PATH:/usr/sbin:/sbin command -v $name) || skip "this machine has no '$name' to make a base image of"
        copy_with_libraries "$file" "$folder"
    done
    copy_with_libraries "$built" "$folder" libraries
    for file in /lib*/*/libnss_{dns,files}.so.2; do
        if [ -e "$file" ]; then cp -L "$file" "$folder$file"; fi
    done
    echo root:x:0:0:root:/root:/bin/sh >"$folder/etc/passwd"
    echo root:x:0: >"$folder/etc/group"
    echo hosts: files dns >"$folder/etc/nsswitch.conf"
    tar -C "$folder" --owner=0 --group=0 -c . | docker import - $small_base >/dev/null
    rm -rf "$folder"
    stand_ins=true
    export SLOTCORE_BASE_IMAGE=$small_base
}

# FILE FOLDER [libraries]: at the places that they have here. With the third word only the libraries.
copy_with_libraries() {
    local files=()
    mapfile -t files < <(ldd "$1" | grep -o '/[^ ]*')
    [ -n "${3:-}" ] || files+=("$1")
    local file
    for file in "${files[@]}"; do
        mkdir -p "$2$(dirname "$file")"
        cp -L "$file" "$2$file"
    done
}

# A stand-in for the build image: the base with a C compiler, this machine's Rust, and the crates of Cargo.lock. It optimises less
# than a release unless --release asks for it, since what is tested is that the image builds.
find_build_image() {
    if ! $stand_ins; then return; fi
    local quick="CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16"
    export SLOTCORE_BUILD_IMAGE=$stand_in_build
    if $optimised; then quick="" SLOTCORE_BUILD_IMAGE=$stand_in_build-release; fi
    if has_image $SLOTCORE_BUILD_IMAGE; then return; fi
    note "makes a stand-in for the build image of this machine's toolchain"
    local folder=$work/build-image sysroot
    sysroot=$(rustc --print sysroot)
    rm -rf "$folder"
    in_time debootstrap --variant=minbase --include=gcc,libc6-dev $release "$folder" >"$work/debootstrap.log" 2>&1 ||
        skip "debootstrap fails; see $work/debootstrap.log"
    mkdir -p "$folder/opt/cargo"
    cp -r "$sysroot" "$folder/opt/rust"
    rm -rf "$folder"/opt/rust/share "$folder"/opt/rust/lib/rustlib/src
    cargo vendor --quiet --locked "$folder/opt/crates" >/dev/null
    printf '[source.crates-io]\nreplace-with = "vendored"\n[source.vendored]\ndirectory = "/opt/crates"\n' >"$folder/opt/cargo/config.toml"
    tar -C "$folder" -c . | docker import -c "ENV PATH=/opt/rust/bin:/usr/bin:/bin CARGO_HOME=/opt/cargo CARGO_NET_OFFLINE=true $quick" - \
        $SLOTCORE_BUILD_IMAGE >/dev/null
    rm -rf "$folder"
}

# How the program gets into the image. A stand-in's glibc is this machine's, so what is built here runs there.
find_program() {
    export SLOTCORE_IMAGE=slotcore-test
    if ! $short && { $from_source || ! $stand_ins; }; then
        find_build_image
        note "the image builds the program itself"
        return
    fi
    export SLOTCORE_BUILD_IMAGE=$SLOTCORE_BASE_IMAGE SLOTCORE_PREBUILT=slotcore
    mkdir -p target/image
    strip --strip-debug -o target/image/slotcore "$built"
    note "the program in the image was built outside of it: $built"
}

# What is built outside of the image: for the short form what tests run, else a release.
build_program() {
    built=${SLOTCORE_BIN:-}
    if [ -n "$built" ]; then return; fi
    command -v cargo >/dev/null || skip "cargo is needed to build the program that goes into the image"
    local profile=release folder=release
    if $short; then profile=dev folder=debug; fi
    cargo build --profile $profile --quiet
    built=$(realpath -m "${CARGO_TARGET_DIR:-target}")/$folder/slotcore
}
