"""Study of worlds that others wrote: fitted users judged in RecSim and RecoGym."""
