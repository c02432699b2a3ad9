# Completion of macmgr(1) for bash: verbs, options, and the names of domains, networks, bridges and ports.
#
# It starts no program, so it answers at once. Names are those of libvirt's status files and of /sys/class/net. Others
# chose them: none is ever expanded, one with a control character is left out, and what the shell would read is quoted.

# Sets options and places of a verb. OPTION:KIND takes a value; KIND... repeats; =a,b is one of these words.
_macmgr_table() {
    case $1 in
    # table
    '')
        options='-h --help --version --config:file --run-dir:directory --source:=status,libvirt --connect:other --netns:netns --replay:file --format:=table,json,html,plugin,prometheus,svg,dot,mermaid --json -v --verbose --no-color'
        places='=audit,plan,apply,show,explain,trace,graph,manage,observe,release,doctor,capture,compare,status,watch,hook,net,validate,install,uninstall,help,version' ;;
    'audit')
        options='-h --help --config:file --run-dir:directory --source:=status,libvirt --connect:other --netns:netns --format:=table,json,html,plugin,prometheus --json --replay:file -v --verbose --no-color --domain:domain --bridge:bridge --network:network --strict --problems'
        places='' ;;
    'plan')
        options='-h --help --config:file --run-dir:directory --source:=status,libvirt --connect:other --netns:netns --format:=table,json --json --replay:file -v --verbose --no-color --domain:domain --bridge:bridge --network:network --vlans'
        places='' ;;
    'apply')
        options='-h --help --config:file --run-dir:directory --source:=status,libvirt --connect:other --netns:netns --format:=table,json --json --no-color --domain:domain --bridge:bridge --network:network --vlans --vlan-filtering:bridge --try:other --cut'
        places='' ;;
    'show')
        options='-h --help --config:file --run-dir:directory --source:=status,libvirt --connect:other --netns:netns --format:=table,json --json --replay:file -v --verbose --no-color --domain:domain --bridge:bridge --network:network'
        places='' ;;
    'explain')
        options='-h --help --config:file --run-dir:directory --source:=status,libvirt --connect:other --netns:netns --format:=table,json --json --replay:file -v --verbose --no-color'
        places='domain+bridge+port' ;;
    'trace')
        options='-h --help --config:file --run-dir:directory --source:=status,libvirt --connect:other --netns:netns --format:=table,json --json --replay:file --no-color --from:port+bridge --to:other --vid:other'
        places='' ;;
    'graph')
        options='-h --help --config:file --run-dir:directory --source:=status,libvirt --connect:other --netns:netns --format:=svg,dot,mermaid --replay:file -v --verbose --domain:domain --bridge:bridge --network:network'
        places='' ;;
    'manage')
        options='-h --help --config:file --run-dir:directory --source:=status,libvirt --connect:other --netns:netns --format:=table,json --json'
        places='bridge' ;;
    'observe')
        options='-h --help --config:file --run-dir:directory --source:=status,libvirt --connect:other --netns:netns --format:=table,json --json'
        places='bridge' ;;
    'release')
        options='-h --help --config:file --run-dir:directory --source:=status,libvirt --connect:other --netns:netns --format:=table,json --json --no-color --bridge:bridge --cut'
        places='' ;;
    'doctor')
        options='-h --help --config:file --run-dir:directory --source:=status,libvirt --connect:other --netns:netns --format:=table,json --json --replay:file --no-color'
        places='bridge' ;;
    'capture')
        options='-h --help --config:file --run-dir:directory --netns:netns --replay:file --anonymous'
        places='file' ;;
    'compare')
        options='-h --help --format:=table,json --json -v --verbose --no-color'
        places='file...' ;;
    'status')
        options='-h --help --format:=table,json --json -v --verbose --no-color'
        places='' ;;
    'watch')
        options='-h --help --config:file --run-dir:directory --netns:netns -v --verbose --observe'
        places='' ;;
    'hook')
        options='-h --help --config:file --run-dir:directory --netns:netns'
        places='=qemu,lxc,network,daemon other other other other' ;;
    'net')
        options='-h --help --config:file --connect:other --format:=table,json --json -v --verbose'
        places='=get,set' ;;
    'net get')
        options='-h --help -v --verbose --connect:other --format:=table,json --json'
        places='network+defined' ;;
    'net set')
        options='-h --help --config:file --connect:other --format:=table,json --json'
        places='network+defined =kernel,libvirt' ;;
    'validate')
        options='-h --help --format:=table,json --json'
        places='file...' ;;
    'install')
        options='-h --help --config:file --run-dir:directory --hooks-dir:directory --units-dir:directory --manage --program:file --no-hooks'
        places='' ;;
    'uninstall')
        options='-h --help --config:file --hooks-dir:directory --units-dir:directory --purge'
        places='' ;;
    'help')
        options=''
        places='=audit,plan,apply,show,explain,trace,graph,manage,observe,release,doctor,capture,compare,status,watch,hook,net,validate,install,uninstall' ;;
    'version')
        options=''
        places='' ;;
    # end of the table
    *) return 1 ;;
    esac
}

# Adds to COMPREPLY what of a KIND begins with $current.
_macmgr_names() {
    local kind
    for kind in ${1//+/ }; do
        case $kind in
        domain) _macmgr_files "$run/qemu/" .xml; _macmgr_files "$run/lxc/" .xml ;;
        network) _macmgr_files "$run/network/" .xml ;;
        defined) _macmgr_files "$run/../../etc/libvirt/qemu/networks/" .xml ;;
        bridge) _macmgr_files /sys/class/net/ /bridge ;;
        port) _macmgr_files /sys/class/net/ /brport ;;
        netns) _macmgr_files /run/netns/ '' ;;
        file) compopt -o default ;;
        directory) compopt -o dirnames ;;
        esac
    done
}

# A name with a line end becomes several lines, and none of them has both the directory and the ending.
_macmgr_files() {
    local path
    while IFS= read -r path; do
        [[ $path == "$1"*"$2" ]] || continue
        path=${path#"$1"}
        _macmgr_add "${path%"$2"}"
    done < <(compgen -G "$1*$2")
}

_macmgr_add() {
    local name=$1 begun=$current
    [[ $name && $name != -* && $name != *[[:cntrl:]]* ]] || return
    case $current in
    \"*) begun=${current#\"}; [[ $name != *[\"\$\`\\!]* ]] || return ;;
    \'*) begun=${current#\'}; [[ $name != *\'* ]] || return ;;
    *) begun=${current//\\/}; printf -v name %q "$1" ;;
    esac
    [[ $1 != "$begun"* ]] || COMPREPLY+=("$name")
}

_macmgr() {
    local run=/run/libvirt current=${COMP_WORDS[COMP_CWORD]-} verb='' options places kind='' place=0 word next i
    local IFS=$' \t\n'
    COMPREPLY=()
    _macmgr_table ''
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $word == -* ]]; then
            case " $options " in
            *" $word:"*) kind=${options##*"$word:"} kind=${kind%% *} ;;
            *) continue ;;
            esac
            # bash makes three words of --bridge=br0
            next=$((i + 1))
            [[ ${COMP_WORDS[next]-} != = ]] || next=$((next + 1))
            [[ $current != = ]] || current=''
            ((next < COMP_CWORD)) || break
            [[ $word != --run-dir ]] || run=${COMP_WORDS[next]}
            kind='' i=$next
        elif _macmgr_table "${verb:+$verb }$word"; then
            verb=${verb:+$verb }$word place=0
        else
            place=$((place + 1))
        fi
    done
    if [[ ! $kind && $current != -* ]]; then
        local kinds=($places)
        kind=${kinds[place]-}
        [[ $kind || $places != *... ]] || kind=${kinds[-1]}
        kind=${kind%...}
        [[ $kind || $current ]] || current=-
    fi
    case $kind in
    '') for word in $options; do [[ ${word%:*} != "$current"* ]] || COMPREPLY+=("${word%:*}"); done ;;
    =*) kind=${kind#=}; for word in ${kind//,/ }; do [[ $word != "$current"* ]] || COMPREPLY+=("$word"); done ;;
    *) _macmgr_names "$kind" ;;
    esac
}

complete -F _macmgr macmgr
