"""Training recipes: one strict script on TRL's ``SFTTrainer`` and the YAML files of every stage."""
