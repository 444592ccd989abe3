# Tests of trainer/checkpoint: torch-free.
foreach(name IN ITEMS checkpoint_boxes checkpoint_catalog checkpoint_commit checkpoint_damage checkpoint_full_disk
                      checkpoint_golden checkpoint_hostile checkpoint_hostile_files checkpoint_lock
                      checkpoint_power_cut checkpoint_round_trip)
  dagpam_test(trainer/${name} LIBS dagpam::checkpoint)
endforeach()
dagpam_test(trainer/safetensors LIBS dagpam::checkpoint)
