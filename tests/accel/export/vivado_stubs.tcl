# Vivado's commands as far as build.tcl uses them: each checks its options, what it names, and records its call.
# The test sets before: cell_names (after synthesis), ram_names, site_names, slack, log; then sources build.tcl.

set bd_cells {}
set accelerator_pins {aclk aresetn s_axi m_axi}

proc record {command arguments} {
    set file [open $::log a]
    puts $file [list $command {*}$arguments]
    close $file
}

# Makes a stub: switches without a value, switches with one; the body sees `given` (a dict) and `rest` (what is no switch).
proc stub {name flags options body} {
    proc $name args [format {
        record %1$s $args
        set given {}
        set rest {}
        for {set i 0} {$i < [llength $args]} {incr i} {
            set word [lindex $args $i]
            if {$word in {%2$s}} {
                dict set given $word 1
            } elseif {$word in {%3$s}} {
                dict set given $word [lindex $args [incr i]]
            } elseif {[regexp {^-[a-z]} $word]} {
                error "%1$s has no option $word"
            } else {
                lappend rest $word
            }
        }
        %4$s
    } $name $flags $options $body]
}

proc need_files {files} {
    foreach file $files { if {![file isfile $file]} { error "no file $file" } }
}

proc need_cell {path} {
    lassign [split $path /] cell pin
    if {$cell ni $::bd_cells} { error "no block design cell $cell" }
    if {$cell eq "accelerator" && $pin ne "" && $pin ni $::accelerator_pins} { error "no pin $path" }
    return $path
}

proc touch {path} {
    file mkdir [file dirname $path]
    close [open $path w]
}

stub create_project {-in_memory} {-part} {}
stub current_project {} {} { return project }
stub update_compile_order {} {-fileset} {}
stub read_verilog {} {} { need_files [concat {*}$rest] }
stub read_xdc {} {-mode} { need_files $rest; if {![dict exists $given -mode]} { uplevel #0 [list source [lindex $rest 0]] } }
stub get_files {} {} { return $rest }
stub set_property {} {-dict} {
    set dict [expr {[dict exists $given -dict] ? [dict get $given -dict] : [lrange $rest 0 1]}]
    if {[llength $dict] % 2} { error "set_property takes pairs: $dict" }
    if {[lindex $rest end] eq ""} { error "set_property of nothing" }
}
stub get_property {} {} { return $::slack }

stub create_bd_design {} {} {}
stub create_bd_cell {} {-type -vlnv -reference} {
    if {[dict get $given -type] eq "module" && [dict get $given -reference] ne "accelerator_axi"} { error "no such module" }
    lappend ::bd_cells [lindex $rest 0]
}
stub get_bd_cells {} {} { return [need_cell [lindex $rest 0]] }
stub get_bd_pins {} {} { return [need_cell [lindex $rest 0]] }
stub get_bd_intf_pins {} {} { return [need_cell [lindex $rest 0]] }
stub get_bd_addr_spaces {} {} { return [need_cell [lindex $rest 0]] }
stub get_bd_addr_segs {} {} { return [need_cell [lindex $rest 0]] }
stub apply_bd_automation {} {-rule -config} {}
stub connect_bd_net {} {} { if {[llength $rest] != 2} { error "a net joins two pins here" } }
stub connect_bd_intf_net {} {} { if {[llength $rest] != 2} { error "an interface joins two pins" } }
stub assign_bd_address {-force} {-offset -range -target_address_space} {}
stub validate_bd_design {} {} {}
stub save_bd_design {} {} {}
stub generate_target {} {} { touch .gen/sources_1/bd/system/hw_handoff/system.hwh }
stub make_wrapper {-top} {-files} { touch .gen/sources_1/bd/system/hdl/system_wrapper.v }

stub synth_design {} {-top -part -mode -flatten_hierarchy} {}
stub get_cells {-quiet -hierarchical} {-filter} {
    if {![dict exists $given -filter]} { return $rest }
    if {![regexp {^NAME =~ (\S+?)( && REF_NAME == RAMB36E1)?$} [dict get $given -filter] all pattern rams]} {
        error "filter [dict get $given -filter]"
    }
    set names [expr {$rams eq "" ? $::cell_names : $::ram_names}]
    set found [lsearch -all -inline -glob $names $pattern]
    if {$found eq "" && ![dict exists $given -quiet]} { error "no cell is $pattern" }
    return $found
}
stub get_sites {-quiet} {} { return [lsearch -all -inline -exact $::site_names [lindex $rest 0]] }
stub create_pblock {} {} {}
stub get_pblocks {} {} { return $rest }
stub add_cells_to_pblock {} {} { if {[llength $rest] < 2} { error "a pblock without cells" } }
stub resize_pblock {} {-add} {
    foreach corner [split [dict get $given -add] :] {
        if {$corner ni $::site_names} { error "no site $corner" }
    }
}
stub opt_design {} {} {}
stub place_design {} {} {}
stub phys_opt_design {} {} {}
stub route_design {} {} {}
stub write_checkpoint {-force} {} {}
stub report_utilization {-hierarchical} {-file} {}
stub report_timing_summary {} {-file} {}
stub get_timing_paths {} {-delay_type -max_paths} { return path }
stub write_bitstream {-force} {} { touch [lindex $rest 0] }
stub write_hw_platform {-fixed -force -include_bit} {-file} { error "projects on disk only" }
