"""What tests share: independent oracles, players, small games, files, processes of training."""
