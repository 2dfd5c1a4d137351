// Behaviour of the 7-series cells that hand-mapped logic instantiates (UG953), for simulation alone.

module LUT1 #(parameter [1:0] INIT = 0) (output O, input I0);
  assign O = INIT[I0];
endmodule

module LUT2 #(parameter [3:0] INIT = 0) (output O, input I0, I1);
  assign O = INIT[{I1, I0}];
endmodule

module LUT3 #(parameter [7:0] INIT = 0) (output O, input I0, I1, I2);
  assign O = INIT[{I2, I1, I0}];
endmodule

module LUT4 #(parameter [15:0] INIT = 0) (output O, input I0, I1, I2, I3);
  assign O = INIT[{I3, I2, I1, I0}];
endmodule

module LUT5 #(parameter [31:0] INIT = 0) (output O, input I0, I1, I2, I3, I4);
  assign O = INIT[{I4, I3, I2, I1, I0}];
endmodule

module LUT6 #(parameter [63:0] INIT = 0) (output O, input I0, I1, I2, I3, I4, I5);
  assign O = INIT[{I5, I4, I3, I2, I1, I0}];
endmodule

module LUT6_2 #(parameter [63:0] INIT = 0) (output O6, O5, input I0, I1, I2, I3, I4, I5);
  assign O6 = INIT[{I5, I4, I3, I2, I1, I0}];
  assign O5 = INIT[{1'b0, I4, I3, I2, I1, I0}];
endmodule

module CARRY4 (output [3:0] CO, O, input CI, CYINIT, input [3:0] DI, S);
  wire first = CI | CYINIT;
  assign CO[0] = S[0] ? first : DI[0];
  assign CO[1] = S[1] ? CO[0] : DI[1];
  assign CO[2] = S[2] ? CO[1] : DI[2];
  assign CO[3] = S[3] ? CO[2] : DI[3];
  assign O = S ^ {CO[2:0], first};
endmodule

// Of DSP48E1 (UG479) what accel.rtl.dsp uses: P = Z + X or Z - X in four fields of 12 bits, X = A:B or 0, Z = PCIN or 0.
module DSP48E1 #(
  parameter USE_MULT = "MULTIPLY", USE_SIMD = "ONE48", USE_DPORT = "FALSE", A_INPUT = "DIRECT", B_INPUT = "DIRECT",
  parameter integer AREG = 1, ACASCREG = 1, BREG = 1, BCASCREG = 1, ALUMODEREG = 1, OPMODEREG = 1, PREG = 1, CREG = 1,
  parameter integer MREG = 1, DREG = 1, ADREG = 1, INMODEREG = 1, CARRYINREG = 1, CARRYINSELREG = 1,
  parameter [3:0] IS_ALUMODE_INVERTED = 0
) (
  output [47:0] P, PCOUT,
  input CLK,
  input [29:0] A, ACIN, input [17:0] B, BCIN, input [47:0] C, PCIN, input [24:0] D,
  input [6:0] OPMODE, input [4:0] INMODE, input [3:0] ALUMODE, input [2:0] CARRYINSEL,
  input CARRYCASCIN, CARRYIN, MULTSIGNIN,
  input CEA1, CEA2, CEAD, CEALUMODE, CEB1, CEB2, CEC, CECARRYIN, CECTRL, CED, CEINMODE, CEM, CEP,
  input RSTA, RSTALLCARRYIN, RSTALUMODE, RSTB, RSTC, RSTCTRL, RSTD, RSTINMODE, RSTM, RSTP
);
  // Anything else is refused: no module has this name.
  generate
    if (USE_MULT != "NONE" || USE_SIMD != "FOUR12" || USE_DPORT != "FALSE" || A_INPUT != "DIRECT" || B_INPUT != "DIRECT" ||
        AREG < 1 || AREG > 2 || ACASCREG != AREG || BREG != AREG || BCASCREG != AREG || ALUMODEREG != 1 ||
        OPMODEREG != 1 || PREG != 1)
      attributes_of_DSP48E1_that_xc7_cells_does_not_model refused ();
  endgenerate

  reg [47:0] first = 0, x = 0, sum = 0;
  reg [6:0] opmode = 0;
  reg [3:0] alumode = 0;
  wire [47:0] added = opmode[1:0] == 2'b11 ? x : 48'b0, carried = opmode[6:4] == 3'b001 ? PCIN : 48'b0;
  wire is_modelled = (opmode[1:0] == 2'b11 || opmode[1:0] == 2'b00) && opmode[3:2] == 2'b00 &&
                     (opmode[6:4] == 3'b001 || opmode[6:4] == 3'b000) && (alumode == 4'b0000 || alumode == 4'b0011);
  wire is_still = CEA1 & CEA2 & CEALUMODE & CEB1 & CEB2 & CECTRL & CEP &
                  ~(RSTA | RSTALUMODE | RSTB | RSTCTRL | RSTP | CARRYIN) & (CARRYINSEL == 0);
  integer k;
  always @(posedge CLK) begin
    first <= {A, B};
    x <= AREG == 2 ? first : {A, B};
    opmode <= OPMODE;
    alumode <= ALUMODE ^ IS_ALUMODE_INVERTED;
    for (k = 0; k < 48; k = k + 12)
      sum[k +: 12] <= alumode[0] ? carried[k +: 12] - added[k +: 12] : carried[k +: 12] + added[k +: 12];
    if (!is_modelled || !is_still) begin
      $display("DSP48E1: mode %b, %b is not modelled", opmode, alumode);
      $stop;
    end
  end
  assign P = sum;
  assign PCOUT = sum;
endmodule
