# Completion of macmgr(1) for fish: verbs, options, and the names of domains, networks, bridges and ports.
#
# It starts no program, so it answers at once. Names are those of libvirt's status files and of /sys/class/net. Others
# chose them: none is ever expanded, one with a control character is left out, and fish quotes what it would read.

# Prints the names of each KIND.
function __macmgr_names
    set -l run /run/libvirt
    set -l before
    for word in (commandline -opc)
        test "$before" = --run-dir; and set run $word
        string match -q -- '--run-dir=*' $word; and set run (string replace -- --run-dir= '' $word)
        set before $word
    end
    set -l paths
    for kind in $argv
        switch $kind
            case domain
                set -a paths $run/qemu/*.xml $run/lxc/*.xml
            case network
                set -a paths $run/network/*.xml
            case defined
                set -a paths $run/../../etc/libvirt/qemu/networks/*.xml
            case bridge
                set -a paths /sys/class/net/*/bridge
            case port
                set -a paths /sys/class/net/*/brport
            case netns
                set -a paths /run/netns/*
        end
    end
    set -q paths[1]; or return
    string match -rv '[[:cntrl:]]' -- $paths | string replace -r '(\.xml|/bridge|/brport)$' '' |
        string replace -r '.*/' '' | string match -rv '^[-~]'
end

# Is the word at the cursor argument number PLACE of VERB? Without PLACE: does it belong to VERB?
function __macmgr_at
    set -l words (commandline -opc)
    set -l verb
    set -l place 0
    set -e words[1]
    while set -q words[1]
        set -l word $words[1]
        set -e words[1]
        if contains -- $word $__macmgr_valued
            set -e words[1]
        else if not string match -q -- '-*' $word
            if contains -- (string join ' ' $verb $word) $__macmgr_verbs
                set -a verb $word
                set place 0
            else
                set place (math $place + 1)
            end
        end
    end
    test "$verb" = "$argv[1]"; or return
    set -q argv[2]; or return 0
    test $place $argv[2] $argv[3]
end

complete -c macmgr -f
# table
set -g __macmgr_valued --bridge --config --connect --domain --format --from --hooks-dir --netns --network --program --replay --run-dir --source --to --try --units-dir --vid --vlan-filtering
set -g __macmgr_verbs 'audit' 'plan' 'apply' 'show' 'explain' 'trace' 'graph' 'manage' 'observe' 'release' 'doctor' 'capture' 'compare' 'status' 'watch' 'hook' 'net' 'net get' 'net set' 'validate' 'install' 'uninstall' 'help' 'version'
complete -c macmgr -n "__macmgr_at '' -eq 0" -a audit -d 'compare what libvirt says with what the bridges do'
complete -c macmgr -n "__macmgr_at '' -eq 0" -a plan -d 'print the changes as bridge(8) commands, and make none'
complete -c macmgr -n "__macmgr_at '' -eq 0" -a apply -d 'make the changes and read them back'
complete -c macmgr -n "__macmgr_at '' -eq 0" -a show -d 'bridges, ports, guests, MACs and promiscuity'
complete -c macmgr -n "__macmgr_at '' -eq 0" -a explain -d 'why a MAC, a port, a bridge or a domain is as it is'
complete -c macmgr -n "__macmgr_at '' -eq 0" -a trace -d 'where a frame goes on this host, and why'
complete -c macmgr -n "__macmgr_at '' -eq 0" -a graph -d 'a picture of bridges, guests and who reaches them'
complete -c macmgr -n "__macmgr_at '' -eq 0" -a manage -d 'let macmgr change a bridge: set its mode in the file'
complete -c macmgr -n "__macmgr_at '' -eq 0" -a observe -d 'let macmgr only report on a bridge: set its mode in the file'
complete -c macmgr -n "__macmgr_at '' -eq 0" -a release -d 'give ports back to the kernel as they were before macmgr'
complete -c macmgr -n "__macmgr_at '' -eq 0" -a doctor -d 'why an uplink is promiscuous, and what would change it'
complete -c macmgr -n "__macmgr_at '' -eq 0" -a capture -d 'write down what the other verbs read of this host, for a bug report'
complete -c macmgr -n "__macmgr_at '' -eq 0" -a compare -d 'audits of several hosts, held against each other'
complete -c macmgr -n "__macmgr_at '' -eq 0" -a status -d 'what the daemon manages, repaired and saw'
complete -c macmgr -n "__macmgr_at '' -eq 0" -a watch -d 'the daemon, in the foreground: keep the MAC tables right as long as guests live'
complete -c macmgr -n "__macmgr_at '' -eq 0" -a hook -d 'what libvirt\'s hooks call; XML on stdin'
complete -c macmgr -n "__macmgr_at '' -eq 0" -a net -d 'read or change the attribute of a libvirt network, through libvirt'
complete -c macmgr -n "__macmgr_at '' -eq 0" -a validate -d 'check network, domain and configuration files'
complete -c macmgr -n "__macmgr_at '' -eq 0" -a install -d 'install libvirt\'s hooks, the daemon\'s unit, and a configuration where there is none'
complete -c macmgr -n "__macmgr_at '' -eq 0" -a uninstall -d 'remove what install put, but for a configuration that was changed since'
complete -c macmgr -n "__macmgr_at '' -eq 0" -a help -d 'what macmgr, or a verb, takes'
complete -c macmgr -n "__macmgr_at '' -eq 0" -a version -d 'macmgr\'s version'
complete -c macmgr -n "__macmgr_at ''" -s h -l help -d 'show this help message and exit'
complete -c macmgr -n "__macmgr_at ''" -l version -d 'show program\'s version number and exit'
complete -c macmgr -n "__macmgr_at ''" -l config -r -F -d 'default /etc/macmgr/macmgr.toml'
complete -c macmgr -n "__macmgr_at ''" -l run-dir -x -a '(__fish_complete_directories)' -d 'libvirt\'s status files are below it; default /run/libvirt'
complete -c macmgr -n "__macmgr_at ''" -l source -x -a 'status libvirt' -d 'ask libvirt\'s status files, or its API; default status'
complete -c macmgr -n "__macmgr_at ''" -l connect -x -d 'libvirt; default qemu:///system'
complete -c macmgr -n "__macmgr_at ''" -l netns -x -a '(__macmgr_names netns)' -d 'look at this network namespace'
complete -c macmgr -n "__macmgr_at ''" -l replay -r -F -d 'look at the host that \'macmgr capture\' wrote down'
complete -c macmgr -n "__macmgr_at ''" -l format -x -a 'table json html plugin prometheus svg dot mermaid' -d 'default table'
complete -c macmgr -n "__macmgr_at ''" -l json -d 'the same as --format json'
complete -c macmgr -n "__macmgr_at ''" -s v -l verbose -d 'say more'
complete -c macmgr -n "__macmgr_at ''" -l no-color -d 'no colour, on a terminal too'
complete -c macmgr -n "__macmgr_at 'audit'" -s h -l help -d 'show this help message and exit'
complete -c macmgr -n "__macmgr_at 'audit'" -l config -r -F -d 'default /etc/macmgr/macmgr.toml'
complete -c macmgr -n "__macmgr_at 'audit'" -l run-dir -x -a '(__fish_complete_directories)' -d 'libvirt\'s status files are below it; default /run/libvirt'
complete -c macmgr -n "__macmgr_at 'audit'" -l source -x -a 'status libvirt' -d 'ask libvirt\'s status files, or its API; default status'
complete -c macmgr -n "__macmgr_at 'audit'" -l connect -x -d 'libvirt; default qemu:///system'
complete -c macmgr -n "__macmgr_at 'audit'" -l netns -x -a '(__macmgr_names netns)' -d 'look at this network namespace'
complete -c macmgr -n "__macmgr_at 'audit'" -l format -x -a 'table json html plugin prometheus' -d 'default table'
complete -c macmgr -n "__macmgr_at 'audit'" -l json -d 'the same as --format json'
complete -c macmgr -n "__macmgr_at 'audit'" -l replay -r -F -d 'look at the host that \'macmgr capture\' wrote down'
complete -c macmgr -n "__macmgr_at 'audit'" -s v -l verbose -d 'say more'
complete -c macmgr -n "__macmgr_at 'audit'" -l no-color -d 'no colour, on a terminal too'
complete -c macmgr -n "__macmgr_at 'audit'" -l domain -x -a '(__macmgr_names domain)' -d 'only this domain'
complete -c macmgr -n "__macmgr_at 'audit'" -l bridge -x -a '(__macmgr_names bridge)' -d 'only this bridge'
complete -c macmgr -n "__macmgr_at 'audit'" -l network -x -a '(__macmgr_names network)' -d 'only the bridge of this libvirt network'
complete -c macmgr -n "__macmgr_at 'audit'" -l strict -d 'let warnings count as drift'
complete -c macmgr -n "__macmgr_at 'audit'" -l problems -d 'show what is wrong, and nothing else'
complete -c macmgr -n "__macmgr_at 'plan'" -s h -l help -d 'show this help message and exit'
complete -c macmgr -n "__macmgr_at 'plan'" -l config -r -F -d 'default /etc/macmgr/macmgr.toml'
complete -c macmgr -n "__macmgr_at 'plan'" -l run-dir -x -a '(__fish_complete_directories)' -d 'libvirt\'s status files are below it; default /run/libvirt'
complete -c macmgr -n "__macmgr_at 'plan'" -l source -x -a 'status libvirt' -d 'ask libvirt\'s status files, or its API; default status'
complete -c macmgr -n "__macmgr_at 'plan'" -l connect -x -d 'libvirt; default qemu:///system'
complete -c macmgr -n "__macmgr_at 'plan'" -l netns -x -a '(__macmgr_names netns)' -d 'look at this network namespace'
complete -c macmgr -n "__macmgr_at 'plan'" -l format -x -a 'table json' -d 'default table'
complete -c macmgr -n "__macmgr_at 'plan'" -l json -d 'the same as --format json'
complete -c macmgr -n "__macmgr_at 'plan'" -l replay -r -F -d 'look at the host that \'macmgr capture\' wrote down'
complete -c macmgr -n "__macmgr_at 'plan'" -s v -l verbose -d 'say more'
complete -c macmgr -n "__macmgr_at 'plan'" -l no-color -d 'no colour, on a terminal too'
complete -c macmgr -n "__macmgr_at 'plan'" -l domain -x -a '(__macmgr_names domain)' -d 'only this domain'
complete -c macmgr -n "__macmgr_at 'plan'" -l bridge -x -a '(__macmgr_names bridge)' -d 'only this bridge'
complete -c macmgr -n "__macmgr_at 'plan'" -l network -x -a '(__macmgr_names network)' -d 'only the bridge of this libvirt network'
complete -c macmgr -n "__macmgr_at 'plan'" -l vlans -d 'also put managed ports into the VLANs of their guests\' <vlan> (as with vlans = "repair")'
complete -c macmgr -n "__macmgr_at 'apply'" -s h -l help -d 'show this help message and exit'
complete -c macmgr -n "__macmgr_at 'apply'" -l config -r -F -d 'default /etc/macmgr/macmgr.toml'
complete -c macmgr -n "__macmgr_at 'apply'" -l run-dir -x -a '(__fish_complete_directories)' -d 'libvirt\'s status files are below it; default /run/libvirt'
complete -c macmgr -n "__macmgr_at 'apply'" -l source -x -a 'status libvirt' -d 'ask libvirt\'s status files, or its API; default status'
complete -c macmgr -n "__macmgr_at 'apply'" -l connect -x -d 'libvirt; default qemu:///system'
complete -c macmgr -n "__macmgr_at 'apply'" -l netns -x -a '(__macmgr_names netns)' -d 'look at this network namespace'
complete -c macmgr -n "__macmgr_at 'apply'" -l format -x -a 'table json' -d 'default table'
complete -c macmgr -n "__macmgr_at 'apply'" -l json -d 'the same as --format json'
complete -c macmgr -n "__macmgr_at 'apply'" -l no-color -d 'no colour, on a terminal too'
complete -c macmgr -n "__macmgr_at 'apply'" -l domain -x -a '(__macmgr_names domain)' -d 'only this domain'
complete -c macmgr -n "__macmgr_at 'apply'" -l bridge -x -a '(__macmgr_names bridge)' -d 'only this bridge'
complete -c macmgr -n "__macmgr_at 'apply'" -l network -x -a '(__macmgr_names network)' -d 'only the bridge of this libvirt network'
complete -c macmgr -n "__macmgr_at 'apply'" -l vlans -d 'also put managed ports into the VLANs of their guests\' <vlan> (as with vlans = "repair")'
complete -c macmgr -n "__macmgr_at 'apply'" -l vlan-filtering -x -a '(__macmgr_names bridge)' -d 'first turn VLAN filtering on for B, if that cuts nobody off'
complete -c macmgr -n "__macmgr_at 'apply'" -l try -x -d 'go back by itself unless somebody types yes in time; with --bridge, on one that is only observed'
complete -c macmgr -n "__macmgr_at 'apply'" -l cut -d 'make the changes also where they cut off an address that is in use, such as one behind a port'
complete -c macmgr -n "__macmgr_at 'show'" -s h -l help -d 'show this help message and exit'
complete -c macmgr -n "__macmgr_at 'show'" -l config -r -F -d 'default /etc/macmgr/macmgr.toml'
complete -c macmgr -n "__macmgr_at 'show'" -l run-dir -x -a '(__fish_complete_directories)' -d 'libvirt\'s status files are below it; default /run/libvirt'
complete -c macmgr -n "__macmgr_at 'show'" -l source -x -a 'status libvirt' -d 'ask libvirt\'s status files, or its API; default status'
complete -c macmgr -n "__macmgr_at 'show'" -l connect -x -d 'libvirt; default qemu:///system'
complete -c macmgr -n "__macmgr_at 'show'" -l netns -x -a '(__macmgr_names netns)' -d 'look at this network namespace'
complete -c macmgr -n "__macmgr_at 'show'" -l format -x -a 'table json' -d 'default table'
complete -c macmgr -n "__macmgr_at 'show'" -l json -d 'the same as --format json'
complete -c macmgr -n "__macmgr_at 'show'" -l replay -r -F -d 'look at the host that \'macmgr capture\' wrote down'
complete -c macmgr -n "__macmgr_at 'show'" -s v -l verbose -d 'say more'
complete -c macmgr -n "__macmgr_at 'show'" -l no-color -d 'no colour, on a terminal too'
complete -c macmgr -n "__macmgr_at 'show'" -l domain -x -a '(__macmgr_names domain)' -d 'only this domain'
complete -c macmgr -n "__macmgr_at 'show'" -l bridge -x -a '(__macmgr_names bridge)' -d 'only this bridge'
complete -c macmgr -n "__macmgr_at 'show'" -l network -x -a '(__macmgr_names network)' -d 'only the bridge of this libvirt network'
complete -c macmgr -n "__macmgr_at 'explain'" -s h -l help -d 'show this help message and exit'
complete -c macmgr -n "__macmgr_at 'explain'" -l config -r -F -d 'default /etc/macmgr/macmgr.toml'
complete -c macmgr -n "__macmgr_at 'explain'" -l run-dir -x -a '(__fish_complete_directories)' -d 'libvirt\'s status files are below it; default /run/libvirt'
complete -c macmgr -n "__macmgr_at 'explain'" -l source -x -a 'status libvirt' -d 'ask libvirt\'s status files, or its API; default status'
complete -c macmgr -n "__macmgr_at 'explain'" -l connect -x -d 'libvirt; default qemu:///system'
complete -c macmgr -n "__macmgr_at 'explain'" -l netns -x -a '(__macmgr_names netns)' -d 'look at this network namespace'
complete -c macmgr -n "__macmgr_at 'explain'" -l format -x -a 'table json' -d 'default table'
complete -c macmgr -n "__macmgr_at 'explain'" -l json -d 'the same as --format json'
complete -c macmgr -n "__macmgr_at 'explain'" -l replay -r -F -d 'look at the host that \'macmgr capture\' wrote down'
complete -c macmgr -n "__macmgr_at 'explain'" -s v -l verbose -d 'say more'
complete -c macmgr -n "__macmgr_at 'explain'" -l no-color -d 'no colour, on a terminal too'
complete -c macmgr -n "__macmgr_at 'explain' -eq 0" -a '(__macmgr_names domain bridge port)'
complete -c macmgr -n "__macmgr_at 'trace'" -s h -l help -d 'show this help message and exit'
complete -c macmgr -n "__macmgr_at 'trace'" -l config -r -F -d 'default /etc/macmgr/macmgr.toml'
complete -c macmgr -n "__macmgr_at 'trace'" -l run-dir -x -a '(__fish_complete_directories)' -d 'libvirt\'s status files are below it; default /run/libvirt'
complete -c macmgr -n "__macmgr_at 'trace'" -l source -x -a 'status libvirt' -d 'ask libvirt\'s status files, or its API; default status'
complete -c macmgr -n "__macmgr_at 'trace'" -l connect -x -d 'libvirt; default qemu:///system'
complete -c macmgr -n "__macmgr_at 'trace'" -l netns -x -a '(__macmgr_names netns)' -d 'look at this network namespace'
complete -c macmgr -n "__macmgr_at 'trace'" -l format -x -a 'table json' -d 'default table'
complete -c macmgr -n "__macmgr_at 'trace'" -l json -d 'the same as --format json'
complete -c macmgr -n "__macmgr_at 'trace'" -l replay -r -F -d 'look at the host that \'macmgr capture\' wrote down'
complete -c macmgr -n "__macmgr_at 'trace'" -l no-color -d 'no colour, on a terminal too'
complete -c macmgr -n "__macmgr_at 'trace'" -l from -x -a '(__macmgr_names port bridge)' -d 'a port, a bridge (its host) or a MAC; default everybody on the bridges that know the destination'
complete -c macmgr -n "__macmgr_at 'trace'" -l to -x -d 'of a station or of a group (ff:ff:ff:ff:ff:ff); for multicast, the group\'s IP address says more'
complete -c macmgr -n "__macmgr_at 'trace'" -l vid -x -d 'the frame\'s VLAN: tagged, unless it is the port\'s PVID'
complete -c macmgr -n "__macmgr_at 'graph'" -s h -l help -d 'show this help message and exit'
complete -c macmgr -n "__macmgr_at 'graph'" -l config -r -F -d 'default /etc/macmgr/macmgr.toml'
complete -c macmgr -n "__macmgr_at 'graph'" -l run-dir -x -a '(__fish_complete_directories)' -d 'libvirt\'s status files are below it; default /run/libvirt'
complete -c macmgr -n "__macmgr_at 'graph'" -l source -x -a 'status libvirt' -d 'ask libvirt\'s status files, or its API; default status'
complete -c macmgr -n "__macmgr_at 'graph'" -l connect -x -d 'libvirt; default qemu:///system'
complete -c macmgr -n "__macmgr_at 'graph'" -l netns -x -a '(__macmgr_names netns)' -d 'look at this network namespace'
complete -c macmgr -n "__macmgr_at 'graph'" -l format -x -a 'svg dot mermaid' -d 'default svg'
complete -c macmgr -n "__macmgr_at 'graph'" -l replay -r -F -d 'look at the host that \'macmgr capture\' wrote down'
complete -c macmgr -n "__macmgr_at 'graph'" -s v -l verbose -d 'say more'
complete -c macmgr -n "__macmgr_at 'graph'" -l domain -x -a '(__macmgr_names domain)' -d 'only this domain, and how it is reached'
complete -c macmgr -n "__macmgr_at 'graph'" -l bridge -x -a '(__macmgr_names bridge)' -d 'only this bridge'
complete -c macmgr -n "__macmgr_at 'graph'" -l network -x -a '(__macmgr_names network)' -d 'only the bridge of this libvirt network'
complete -c macmgr -n "__macmgr_at 'manage'" -s h -l help -d 'show this help message and exit'
complete -c macmgr -n "__macmgr_at 'manage'" -l config -r -F -d 'default /etc/macmgr/macmgr.toml'
complete -c macmgr -n "__macmgr_at 'manage'" -l run-dir -x -a '(__fish_complete_directories)' -d 'libvirt\'s status files are below it; default /run/libvirt'
complete -c macmgr -n "__macmgr_at 'manage'" -l source -x -a 'status libvirt' -d 'ask libvirt\'s status files, or its API; default status'
complete -c macmgr -n "__macmgr_at 'manage'" -l connect -x -d 'libvirt; default qemu:///system'
complete -c macmgr -n "__macmgr_at 'manage'" -l netns -x -a '(__macmgr_names netns)' -d 'look at this network namespace'
complete -c macmgr -n "__macmgr_at 'manage'" -l format -x -a 'table json' -d 'default table'
complete -c macmgr -n "__macmgr_at 'manage'" -l json -d 'the same as --format json'
complete -c macmgr -n "__macmgr_at 'manage' -eq 0" -a '(__macmgr_names bridge)'
complete -c macmgr -n "__macmgr_at 'observe'" -s h -l help -d 'show this help message and exit'
complete -c macmgr -n "__macmgr_at 'observe'" -l config -r -F -d 'default /etc/macmgr/macmgr.toml'
complete -c macmgr -n "__macmgr_at 'observe'" -l run-dir -x -a '(__fish_complete_directories)' -d 'libvirt\'s status files are below it; default /run/libvirt'
complete -c macmgr -n "__macmgr_at 'observe'" -l source -x -a 'status libvirt' -d 'ask libvirt\'s status files, or its API; default status'
complete -c macmgr -n "__macmgr_at 'observe'" -l connect -x -d 'libvirt; default qemu:///system'
complete -c macmgr -n "__macmgr_at 'observe'" -l netns -x -a '(__macmgr_names netns)' -d 'look at this network namespace'
complete -c macmgr -n "__macmgr_at 'observe'" -l format -x -a 'table json' -d 'default table'
complete -c macmgr -n "__macmgr_at 'observe'" -l json -d 'the same as --format json'
complete -c macmgr -n "__macmgr_at 'observe' -eq 0" -a '(__macmgr_names bridge)'
complete -c macmgr -n "__macmgr_at 'release'" -s h -l help -d 'show this help message and exit'
complete -c macmgr -n "__macmgr_at 'release'" -l config -r -F -d 'default /etc/macmgr/macmgr.toml'
complete -c macmgr -n "__macmgr_at 'release'" -l run-dir -x -a '(__fish_complete_directories)' -d 'libvirt\'s status files are below it; default /run/libvirt'
complete -c macmgr -n "__macmgr_at 'release'" -l source -x -a 'status libvirt' -d 'ask libvirt\'s status files, or its API; default status'
complete -c macmgr -n "__macmgr_at 'release'" -l connect -x -d 'libvirt; default qemu:///system'
complete -c macmgr -n "__macmgr_at 'release'" -l netns -x -a '(__macmgr_names netns)' -d 'look at this network namespace'
complete -c macmgr -n "__macmgr_at 'release'" -l format -x -a 'table json' -d 'default table'
complete -c macmgr -n "__macmgr_at 'release'" -l json -d 'the same as --format json'
complete -c macmgr -n "__macmgr_at 'release'" -l no-color -d 'no colour, on a terminal too'
complete -c macmgr -n "__macmgr_at 'release'" -l bridge -x -a '(__macmgr_names bridge)' -d 'only the ports of this bridge'
complete -c macmgr -n "__macmgr_at 'release'" -l cut -d 'give ports back also where that cuts a guest off, or lets others hear it who did not'
complete -c macmgr -n "__macmgr_at 'doctor'" -s h -l help -d 'show this help message and exit'
complete -c macmgr -n "__macmgr_at 'doctor'" -l config -r -F -d 'default /etc/macmgr/macmgr.toml'
complete -c macmgr -n "__macmgr_at 'doctor'" -l run-dir -x -a '(__fish_complete_directories)' -d 'libvirt\'s status files are below it; default /run/libvirt'
complete -c macmgr -n "__macmgr_at 'doctor'" -l source -x -a 'status libvirt' -d 'ask libvirt\'s status files, or its API; default status'
complete -c macmgr -n "__macmgr_at 'doctor'" -l connect -x -d 'libvirt; default qemu:///system'
complete -c macmgr -n "__macmgr_at 'doctor'" -l netns -x -a '(__macmgr_names netns)' -d 'look at this network namespace'
complete -c macmgr -n "__macmgr_at 'doctor'" -l format -x -a 'table json' -d 'default table'
complete -c macmgr -n "__macmgr_at 'doctor'" -l json -d 'the same as --format json'
complete -c macmgr -n "__macmgr_at 'doctor'" -l replay -r -F -d 'look at the host that \'macmgr capture\' wrote down'
complete -c macmgr -n "__macmgr_at 'doctor'" -l no-color -d 'no colour, on a terminal too'
complete -c macmgr -n "__macmgr_at 'doctor' -eq 0" -a '(__macmgr_names bridge)'
complete -c macmgr -n "__macmgr_at 'capture'" -s h -l help -d 'show this help message and exit'
complete -c macmgr -n "__macmgr_at 'capture'" -l config -r -F -d 'default /etc/macmgr/macmgr.toml'
complete -c macmgr -n "__macmgr_at 'capture'" -l run-dir -x -a '(__fish_complete_directories)' -d 'libvirt\'s status files are below it; default /run/libvirt'
complete -c macmgr -n "__macmgr_at 'capture'" -l netns -x -a '(__macmgr_names netns)' -d 'look at this network namespace'
complete -c macmgr -n "__macmgr_at 'capture'" -l replay -r -F -d 'look at the host that \'macmgr capture\' wrote down'
complete -c macmgr -n "__macmgr_at 'capture'" -l anonymous -d 'replace names of guests and networks, and addresses'
complete -c macmgr -n "__macmgr_at 'capture' -eq 0" -F
complete -c macmgr -n "__macmgr_at 'compare'" -s h -l help -d 'show this help message and exit'
complete -c macmgr -n "__macmgr_at 'compare'" -l format -x -a 'table json' -d 'default table'
complete -c macmgr -n "__macmgr_at 'compare'" -l json -d 'the same as --format json'
complete -c macmgr -n "__macmgr_at 'compare'" -s v -l verbose -d 'say more'
complete -c macmgr -n "__macmgr_at 'compare'" -l no-color -d 'no colour, on a terminal too'
complete -c macmgr -n "__macmgr_at 'compare' -ge 0" -F
complete -c macmgr -n "__macmgr_at 'status'" -s h -l help -d 'show this help message and exit'
complete -c macmgr -n "__macmgr_at 'status'" -l format -x -a 'table json' -d 'default table'
complete -c macmgr -n "__macmgr_at 'status'" -l json -d 'the same as --format json'
complete -c macmgr -n "__macmgr_at 'status'" -s v -l verbose -d 'say more'
complete -c macmgr -n "__macmgr_at 'status'" -l no-color -d 'no colour, on a terminal too'
complete -c macmgr -n "__macmgr_at 'watch'" -s h -l help -d 'show this help message and exit'
complete -c macmgr -n "__macmgr_at 'watch'" -l config -r -F -d 'default /etc/macmgr/macmgr.toml'
complete -c macmgr -n "__macmgr_at 'watch'" -l run-dir -x -a '(__fish_complete_directories)' -d 'libvirt\'s status files are below it; default /run/libvirt'
complete -c macmgr -n "__macmgr_at 'watch'" -l netns -x -a '(__macmgr_names netns)' -d 'look at this network namespace'
complete -c macmgr -n "__macmgr_at 'watch'" -s v -l verbose -d 'say more'
complete -c macmgr -n "__macmgr_at 'watch'" -l observe -d 'report what it would do, on every bridge, and change nothing; hooks do their work themselves'
complete -c macmgr -n "__macmgr_at 'hook'" -s h -l help -d 'show this help message and exit'
complete -c macmgr -n "__macmgr_at 'hook'" -l config -r -F -d 'default /etc/macmgr/macmgr.toml'
complete -c macmgr -n "__macmgr_at 'hook'" -l run-dir -x -a '(__fish_complete_directories)' -d 'libvirt\'s status files are below it; default /run/libvirt'
complete -c macmgr -n "__macmgr_at 'hook'" -l netns -x -a '(__macmgr_names netns)' -d 'look at this network namespace'
complete -c macmgr -n "__macmgr_at 'hook' -eq 0" -a 'qemu lxc network daemon'
complete -c macmgr -n "__macmgr_at 'net' -eq 0" -a get -d 'who manages the MAC table of a network\'s bridge'
complete -c macmgr -n "__macmgr_at 'net' -eq 0" -a set -d 'change macTableManager in a network\'s definition'
complete -c macmgr -n "__macmgr_at 'net'" -s h -l help -d 'show this help message and exit'
complete -c macmgr -n "__macmgr_at 'net'" -l config -r -F -d 'default /etc/macmgr/macmgr.toml'
complete -c macmgr -n "__macmgr_at 'net'" -l connect -x -d 'libvirt; default qemu:///system'
complete -c macmgr -n "__macmgr_at 'net'" -l format -x -a 'table json' -d 'default table'
complete -c macmgr -n "__macmgr_at 'net'" -l json -d 'the same as --format json'
complete -c macmgr -n "__macmgr_at 'net'" -s v -l verbose -d 'say more'
complete -c macmgr -n "__macmgr_at 'net get'" -s h -l help -d 'show this help message and exit'
complete -c macmgr -n "__macmgr_at 'net get'" -s v -l verbose -d 'say more'
complete -c macmgr -n "__macmgr_at 'net get'" -l connect -x -d 'libvirt; default qemu:///system'
complete -c macmgr -n "__macmgr_at 'net get'" -l format -x -a 'table json' -d 'default table'
complete -c macmgr -n "__macmgr_at 'net get'" -l json -d 'the same as --format json'
complete -c macmgr -n "__macmgr_at 'net get' -eq 0" -a '(__macmgr_names network defined)'
complete -c macmgr -n "__macmgr_at 'net set'" -s h -l help -d 'show this help message and exit'
complete -c macmgr -n "__macmgr_at 'net set'" -l config -r -F -d 'default /etc/macmgr/macmgr.toml'
complete -c macmgr -n "__macmgr_at 'net set'" -l connect -x -d 'libvirt; default qemu:///system'
complete -c macmgr -n "__macmgr_at 'net set'" -l format -x -a 'table json' -d 'default table'
complete -c macmgr -n "__macmgr_at 'net set'" -l json -d 'the same as --format json'
complete -c macmgr -n "__macmgr_at 'net set' -eq 0" -a '(__macmgr_names network defined)'
complete -c macmgr -n "__macmgr_at 'net set' -eq 1" -a 'kernel libvirt'
complete -c macmgr -n "__macmgr_at 'validate'" -s h -l help -d 'show this help message and exit'
complete -c macmgr -n "__macmgr_at 'validate'" -l format -x -a 'table json' -d 'default table'
complete -c macmgr -n "__macmgr_at 'validate'" -l json -d 'the same as --format json'
complete -c macmgr -n "__macmgr_at 'validate' -ge 0" -F
complete -c macmgr -n "__macmgr_at 'install'" -s h -l help -d 'show this help message and exit'
complete -c macmgr -n "__macmgr_at 'install'" -l config -r -F -d 'default /etc/macmgr/macmgr.toml'
complete -c macmgr -n "__macmgr_at 'install'" -l run-dir -x -a '(__fish_complete_directories)' -d 'libvirt\'s status files are below it; default /run/libvirt'
complete -c macmgr -n "__macmgr_at 'install'" -l hooks-dir -x -a '(__fish_complete_directories)' -d 'default /etc/libvirt/hooks'
complete -c macmgr -n "__macmgr_at 'install'" -l units-dir -x -a '(__fish_complete_directories)' -d 'the daemon\'s unit; default /etc/systemd/system, under systemd'
complete -c macmgr -n "__macmgr_at 'install'" -l manage -d 'let the new configuration say mode = "manage"; without it, macmgr only observes'
complete -c macmgr -n "__macmgr_at 'install'" -l program -r -F -d 'the macmgr that hooks and unit start'
complete -c macmgr -n "__macmgr_at 'install'" -l no-hooks -d 'unit and configuration alone; hooks that are there go'
complete -c macmgr -n "__macmgr_at 'uninstall'" -s h -l help -d 'show this help message and exit'
complete -c macmgr -n "__macmgr_at 'uninstall'" -l config -r -F -d 'default /etc/macmgr/macmgr.toml'
complete -c macmgr -n "__macmgr_at 'uninstall'" -l hooks-dir -x -a '(__fish_complete_directories)' -d 'default /etc/libvirt/hooks'
complete -c macmgr -n "__macmgr_at 'uninstall'" -l units-dir -x -a '(__fish_complete_directories)' -d 'the daemon\'s unit; default /etc/systemd/system, under systemd'
complete -c macmgr -n "__macmgr_at 'uninstall'" -l purge -d 'forget how ports were before macmgr, released or not'
complete -c macmgr -n "__macmgr_at 'help' -eq 0" -a 'audit plan apply show explain trace graph manage observe release doctor capture compare status watch hook net validate install uninstall'
# end of the table
